from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from dispenser.dispense import Dispenser
from dispenser.http.admins import Admins
from dispenser.http.replays import Replays
from dispenser.metrics import Metrics
from dispenser.workloads import Workloads
from shared.keyring import Keyring
from shared.ports import AuditJournal, Bus, Cache, Clock, Store
from shared.settings import Settings

#: So many random bytes.
Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the routes work with."""

    dispenser: Dispenser
    store: Store
    bus: Bus
    cache: Cache
    keys: Keyring
    journal: AuditJournal
    settings: Settings
    clock: Clock
    entropy: Entropy
    admins: Admins
    metrics: Metrics
    replays: Replays
    workloads: Workloads


def _of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


#: The door, as a route's argument.
TheDoor = Annotated[Door, Depends(_of)]
