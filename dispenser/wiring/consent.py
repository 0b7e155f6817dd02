from collections.abc import Callable
from datetime import timedelta

from dispenser import connect_ticket
from dispenser.wiring.world import World
from shared.model import Owner, ServiceName


def connect_url(world: World) -> Callable[[ServiceName, Owner], str]:
    """Makes the addresses at which owners give consent."""

    def address(service: ServiceName, owner: Owner) -> str:
        expires_at = world.clock() + timedelta(seconds=connect_ticket.LIFETIME_SECONDS)
        ticket = connect_ticket.mint(world.keys, service, owner, expires_at=expires_at)
        return connect_ticket.connect_url(world.settings.public_url, service, owner, ticket)

    return address
