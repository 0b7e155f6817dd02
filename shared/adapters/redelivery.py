from typing import Final

from shared.ports import Delivery, Outgoing
from shared.topology import ATTEMPT_HEADER, retry_queue

#: Seconds before a message whose handler raised is given back, so that it does not spin.
REQUEUE_PAUSE_SECONDS: Final = 0.1


def retried(delivery: Delivery, delay_seconds: float) -> Outgoing:
    """The message that waits in a retry queue for its next attempt.

    The broker's own headers (`x-death`, `x-delivery-count`) stay behind: they tell of this delivery.
    """
    headers = {name: value for name, value in delivery.headers.items() if not name.startswith("x-")}
    tries = headers.get(ATTEMPT_HEADER)
    headers[ATTEMPT_HEADER] = (tries if isinstance(tries, int) else 0) + 1
    return Outgoing(exchange="", routing_key=retry_queue(delay_seconds), body=delivery.body, headers=headers)
