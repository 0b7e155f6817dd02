"""What the broker vouches for: who sent a request, where its reply may go, and for whom it may speak."""

import re
from collections.abc import Container
from typing import Final

from shared import topology
from shared.model import AgentName
from shared.ports import Delivery

MAX_CORRELATION_ID: Final = 64
#: The end of a reply queue's name.
_RANDOM: Final = re.compile("[0-9a-f]{32}")


def addressed_to_sender(delivery: Delivery) -> bool:
    """The reply goes to a queue of the very user that the broker has authenticated, and to no other.

    A crafted direct reply-to closes the dispenser's connection on RabbitMQ before 4.1, and any other queue
    would make it a confused deputy (https://www.rabbitmq.com/docs/validated-user-id).
    """
    if not delivery.user_id or not delivery.reply_to or not delivery.correlation_id:
        return False
    own = f"{topology.REPLY_PREFIX}{delivery.user_id}."
    return (
        len(delivery.correlation_id) <= MAX_CORRELATION_ID
        and delivery.reply_to.startswith(own)
        and _RANDOM.fullmatch(delivery.reply_to, len(own)) is not None
    )


def speaks_for(broker_user: str, agent: AgentName, agents: Container[AgentName]) -> bool:
    """Whether a RabbitMQ user may present an agent's vault token.

    One that has an agent's name has logged in with that agent's vault token, and speaks for it alone:
    another's token on its connection is a stolen one. Any other is a plain user of RabbitMQ, to whom an
    operator gave the right to ask, and identity rests on the vault token.
    """
    return broker_user == agent or AgentName(broker_user) not in agents
