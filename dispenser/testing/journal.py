from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

PENDING: Final = "pending"
UNTOUCHED: Final = "untouched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request that reached the token, revocation or introspection endpoint. Holds no secret."""

    #: `token`, `revoke` or `introspect`.
    endpoint: str
    #: Seconds since the epoch.
    at: float
    client_id: str
    client_auth: str
    grant_type: str = ""
    #: The first 16 hex digits of the token's SHA-256.
    refresh_token: str = ""
    #: Another refresh with the same token was under way when this one came in.
    overlapped: bool = False
    #: The fault that it met, by its class name.
    fault: str = ""
    #: `pending`, then what the provider did: `issued`, `replayed` (a spent token, within the grace),
    #: `reused` (a spent token, refused), `expired` (an unused one, too old), `too_many` (429), another
    #: refusal's code, or `untouched` where a fault came first.
    outcome: str = PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A request that reached the API."""

    #: Seconds since the epoch.
    at: float
    method: str
    path: str
    status: int
    owner: str = ""
    #: The first 16 hex digits of the access token's SHA-256.
    access_token: str = ""


class Journal:
    """What the provider received, in order."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.api_calls: list[ApiCall] = []
        #: Token requests within one second of the clock, and under way at once, at most.
        self.most_in_a_second = 0
        self.most_at_once = 0
        self._in_second: Counter[int] = Counter()
        self._under_way: set[int] = set()

    def arrived(self, record: Received) -> int:
        """The record's place, for `note` and `answered`."""
        twins = [i for i in self._under_way if self.received[i].refresh_token == record.refresh_token != ""]
        self.received.append(replace(record, overlapped=bool(twins)))
        place = len(self.received) - 1
        if record.endpoint == "token":
            self._count(place, int(record.at))
        return place

    def in_second_of(self, place: int) -> int:
        """Token requests so far in the second in which this one came in."""
        return self._in_second[int(self.received[place].at)]

    def _count(self, place: int, second: int) -> None:
        self._under_way.add(place)
        self._in_second[second] += 1
        self.most_at_once = max(self.most_at_once, len(self._under_way))
        self.most_in_a_second = max(self.most_in_a_second, self._in_second[second])

    def note(self, place: int, outcome: str) -> None:
        self.received[place] = replace(self.received[place], outcome=outcome)

    def answered(self, place: int) -> None:
        self._under_way.discard(place)
        if self.received[place].outcome == PENDING:
            self.note(place, UNTOUCHED)

    @property
    def token_calls(self) -> int:
        """Requests to the token endpoint."""
        return sum(record.endpoint == "token" for record in self.received)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many requests came to which outcome."""
        return Counter(record.outcome for record in self.received)

    @property
    def refreshes(self) -> int:
        """Token requests that presented a refresh token."""
        return sum(record.grant_type == "refresh_token" for record in self.received)

    @property
    def reuses(self) -> int:
        """Refreshes refused because their token was spent before."""
        return sum(record.outcome == "reused" for record in self.received)

    @property
    def overlaps(self) -> int:
        """Refreshes that came in while another with the same token was under way."""
        return sum(record.overlapped for record in self.received)
