from collections.abc import Callable
from datetime import datetime

#: Tells the time: aware, UTC.
Clock = Callable[[], datetime]
