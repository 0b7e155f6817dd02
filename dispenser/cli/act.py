"""What an admin does by the command line, written into the audit."""

import getpass
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dispenser.wiring.world import World
from shared import audit_line
from shared.cache_keys import epoch_version
from shared.model import AuditRecord

DOOR: Final = "cli"
#: Records in one transaction.
AT_ONCE: Final = 200


async def recorded(
    at: World,
    action: str,
    *,
    agent: str = "",
    session: str = "",
    owner: str = "",
    service: str = "",
    catalogue_version: int = 0,
    request_id: str = "",
    reason: str = "",
) -> None:
    """Write one act down before it takes effect. Raises: StoreUnavailable, and nothing is to be done then."""
    record = AuditRecord(
        writer="",
        sequence=0,
        at=at.clock(),
        action=action,
        outcome="ok",
        agent=agent,
        session=session,
        owner=owner,
        service=service,
        catalogue_version=catalogue_version,
        request_id=request_id,
        door=DOOR,
        reason=reason,
    )
    await written(at, [record])


async def written(at: World, records: Sequence[AuditRecord]) -> None:
    """Write acts down as this admin's. A command has no journal that anybody would ship, so the database
    gets them.

    Raises: StoreUnavailable.
    """
    first, who = epoch_version(at.clock()), _admin()
    numbered = [
        replace(record, writer=at.name, sequence=first + place, admin=who)
        for place, record in enumerate(records)
    ]
    for start in range(0, len(numbered), AT_ONCE):
        group = numbered[start : start + AT_ONCE]
        await at.store.audit.append([audit_line.encode(record) for record in group])


def _admin() -> str:
    """Who runs this command, as the machine knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
