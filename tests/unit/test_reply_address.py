"""A reply goes to a queue of the very user that the broker has authenticated, who speaks for itself alone."""

from dataclasses import replace

import pytest

from dispenser.sender import addressed_to_sender, speaks_for
from shared.model import AgentName
from shared.ports import Delivery

RANDOM = "0123456789abcdef" * 2
HONEST = Delivery(
    body=b"",
    headers={},
    routing_key="token.get",
    correlation_id="c",
    reply_to=f"vault.reply.tracker.{RANDOM}",
    user_id="tracker",
    expiration_seconds=None,
    redelivered=False,
)


def test_an_agents_own_reply_queue_is_answered() -> None:
    assert addressed_to_sender(HONEST)


@pytest.mark.parametrize(
    "reply_to",
    [
        None,
        "",
        "vault.secret",
        "vault.rpc.token",
        "vault.refresh.urgent",
        "amq.rabbitmq.reply-to",
        "amq.rabbitmq.reply-to.abc.def",
        f"vault.reply.summarizer.{RANDOM}",
        f"vault.reply.tracker.x.{RANDOM}",
        f"vault.reply.tracke.{RANDOM}",
        f"vault.reply.tracker{RANDOM}",
        f"vault.reply.tracker.{RANDOM}\n",
        f"vault.reply.tracker.{RANDOM.upper()}",
        f"vault.reply.tracker.{RANDOM[:-1]}",
        f" vault.reply.tracker.{RANDOM}",
    ],
)
def test_any_other_address_is_not(reply_to: str | None) -> None:
    assert not addressed_to_sender(replace(HONEST, reply_to=reply_to))


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": None},
        {"user_id": ""},
        {"user_id": "summarizer"},
        {"user_id": ".*"},
        {"user_id": "tracke."},
        {"correlation_id": None},
        {"correlation_id": "c" * 65},
    ],
)
def test_nor_is_a_sender_that_the_broker_does_not_vouch_for(changes: dict[str, str | None]) -> None:
    assert not addressed_to_sender(replace(HONEST, **changes))


@pytest.mark.parametrize(
    ("user", "speaks"), [("tracker", True), ("intern", False), ("guest", True), ("Tracker", True)]
)
def test_a_user_with_an_agents_name_speaks_for_that_agent_alone(user: str, speaks: bool) -> None:
    agents = {AgentName("tracker"), AgentName("intern")}
    assert speaks_for(user, AgentName("tracker"), agents) is speaks
