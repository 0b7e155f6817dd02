"""Bringing a credential in: seal it to the refreshers, tell them, see what became of it."""

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared.envelope import seal_enrolment
from shared.keyring import Keyring
from shared.messages import EnrolmentEvent, encode
from shared.model import (
    AuthorizationCode,
    Client,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Owner,
    Presented,
    RefreshToken,
    ServiceAccountKey,
    ServiceName,
)
from shared.ports import Bus, Clock, Outgoing, Store
from shared.topology import REFRESH_EXCHANGE, URGENT_KEY

#: An authorization code lives for minutes (RFC 6749 §4.1.2); what nobody redeemed by then is wiped.
LIFETIME_SECONDS: Final = 600
DEFAULT_PATIENCE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
SLOWEST_POLL_SECONDS: Final = 0.5


async def present(
    store: Store,
    bus: Bus,
    keys: Keyring,
    clock: Clock,
    *,
    service: ServiceName,
    owner: Owner,
    presented: Presented,
    client: Client | None,
) -> EnrolmentId:
    """Hand a credential to the refreshers. It can be read by them alone from here on.

    `client`: which one it was given to, and the only one that it will be sent for.

    Raises: StoreUnavailable, BusUnavailable, Unroutable, QueueFull.
    """
    enrolment_id, now = EnrolmentId(secrets.token_hex(16)), clock()
    await store.enrolments.add(
        Enrolment(
            id=enrolment_id,
            service=service,
            owner=owner,
            state=EnrolmentState.PENDING,
            sealed=seal_enrolment(keys, enrolment_id, service, owner, _given_to(client, presented)),
            error=None,
            created_at=now,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
        )
    )
    await bus.publish(
        Outgoing(
            exchange=REFRESH_EXCHANGE,
            routing_key=URGENT_KEY,
            body=encode(EnrolmentEvent(enrolment_id=enrolment_id)),
        )
    )
    return enrolment_id


def _given_to(client: Client | None, presented: Presented) -> Presented:
    match presented:
        case AuthorizationCode() | RefreshToken() | ServiceAccountKey():
            return replace(presented, client=client)
        case _:
            return presented


async def outcome(
    store: Store, enrolment_id: EnrolmentId, *, patience_seconds: float = DEFAULT_PATIENCE_SECONDS
) -> Enrolment | None:
    """The enrolment once it has ended, or as it is when patience has. None: it was purged.

    Raises: StoreUnavailable.
    """
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + patience_seconds, POLL_SECONDS
    while True:
        enrolment = await store.enrolments.get(enrolment_id)
        if enrolment is None or enrolment.state is not EnrolmentState.PENDING or loop.time() >= until:
            return enrolment
        await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
        pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)
