"""What an admin does by the command line, written into the audit before it takes effect."""

import getpass
import os

from dispenser.wiring.world import World
from shared import audit_line
from shared.cache_keys import epoch_version
from shared.model import AuditRecord


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
    """Write one act down. A command has no journal that anybody would ship, so the database gets it.

    Raises: StoreUnavailable, and nothing is to be done then.
    """
    now = at.clock()
    record = AuditRecord(
        writer=at.name,
        sequence=epoch_version(now),
        at=now,
        action=action,
        outcome="ok",
        agent=agent,
        session=session,
        owner=owner,
        service=service,
        catalogue_version=catalogue_version,
        request_id=request_id,
        door="cli",
        admin=admin(),
        reason=reason,
    )
    await at.store.audit.append([audit_line.encode(record)])


def admin() -> str:
    """Who runs this command, as the machine knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
