"""An answer is of use until the request's own deadline or its message's end, whichever comes first."""

import pytest

from dispenser.door_amqp import _deadline_seconds
from dispenser.protocol import DEFAULT_DEADLINE_SECONDS, Request, TokenCall
from shared.ports import Delivery


@pytest.mark.parametrize(
    ("stated", "expiration", "seconds"),
    [
        (5.0, None, 5.0),
        (5.0, 3.0, 3.0),
        (5.0, 8.0, 5.0),
        (5.0, 0.0, 0.0),
        (1e8, None, 3 * DEFAULT_DEADLINE_SECONDS),
        (1e8, 1e8, 3 * DEFAULT_DEADLINE_SECONDS),
    ],
)
def test_the_earlier_counts_and_nobody_waits_for_ever(
    stated: float, expiration: float | None, seconds: float
) -> None:
    request = Request(calls=(TokenCall(service="time-tracker"),), sent_at=0.0, deadline_seconds=stated)
    delivery = Delivery(
        body=b"",
        headers={},
        routing_key="token.get",
        correlation_id="c",
        reply_to="vault.reply.tracker.x",
        user_id="tracker",
        expiration_seconds=expiration,
        redelivered=False,
    )
    assert _deadline_seconds(request, delivery) == seconds
