"""For the tests of agents: an OAuth provider that misbehaves on demand, and a vault to talk to.

pytest imports this package wherever it is installed, so nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dispenser.testing import faults
    from dispenser.testing.behaviour import Behaviour
    from dispenser.testing.emulator import Emulator

__all__ = ["Behaviour", "Emulator", "faults"]

_HOMES: Final = {"Behaviour": "dispenser.testing.behaviour", "Emulator": "dispenser.testing.emulator"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
