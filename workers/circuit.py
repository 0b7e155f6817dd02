from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from shared.model import ProviderSecrets

OPEN_SECONDS: Final = 60.0


@dataclass(slots=True)
class Circuit:
    """Keeps a refresher from a provider that refuses the client itself, and knows which secret is next.

    A provider refuses the client before it looks at a grant, so trying the next secret spends nothing.
    """

    open_until: datetime | None = None
    #: Secrets refused in a row, and the place of the one to try now.
    refused: int = 0
    place: int = 0
    #: When that place was last changed.
    changed_at: datetime | None = None

    def admits(self, now: datetime) -> bool:
        """A request may be sent. Once the time is over one goes on trial, and the others wait for it."""
        if self.open_until is None:
            return True
        if now < self.open_until:
            return False
        self.open_until = now + timedelta(seconds=OPEN_SECONDS)
        return True

    def ordered(self, secrets: ProviderSecrets) -> ProviderSecrets:
        """The secrets, the one to try now first."""
        found = secrets.client_secrets
        place = self.place % len(found) if found else 0
        return replace(secrets, client_secrets=found[place:] + found[:place])

    def client_refused(self, secrets: int, now: datetime, sent_at: datetime | None = None) -> bool:
        """The provider refused the client with one of so many secrets. True: there is another to try now.

        `sent_at`: of the request. One that was under way before the last change says nothing of the next.
        """
        if self.changed_at is not None and sent_at is not None and sent_at < self.changed_at:
            return self.open_until is None
        self.refused, self.place, self.changed_at = self.refused + 1, self.place + 1, now
        if self.refused < secrets:
            return True
        self.open_until, self.refused = now + timedelta(seconds=OPEN_SECONDS), 0
        return False

    def client_accepted(self) -> bool:
        """The provider knows the client, whatever else it says. True: it did not before."""
        was_open = self.open_until is not None
        self.open_until, self.refused = None, 0
        return was_open
