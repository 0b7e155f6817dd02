from integration.refreshing import Vault

from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.janitor import TAKEOVER_SECONDS
from workers.takeover import Takeover


class Watching:
    """A takeover, and the time that passes between its looks."""

    def __init__(self, vault: Vault) -> None:
        self._seconds = 0.0
        audit = AuditTrail(vault.store.audit, vault.clock, "janitor")
        announcements = Announcements(vault.store.outbox, vault.bus)
        self.takeover = Takeover(
            vault.store, announcements, audit, vault.clock, elapsed=lambda: self._seconds, cache=vault.cache
        )

    async def look(self, *, after_seconds: float) -> int:
        self._seconds += after_seconds
        return await self.takeover.run()

    async def watch(self, seconds: float) -> int:
        """Look for so long, as often as a janitor does, and return how many were taken over."""
        ended = await self.look(after_seconds=0.0)
        for _ in range(int(seconds / TAKEOVER_SECONDS)):
            ended += await self.look(after_seconds=TAKEOVER_SECONDS)
        return ended
