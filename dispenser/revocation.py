"""Is a vault token revoked? Epochs say: every token of a subject issued at or before this moment is void."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dispenser.vault_token import Identity
from shared.cache_keys import EPOCHS_READY_KEY, epoch_key, epoch_moment
from shared.model import Revocation, RevocationKind


@dataclass(frozen=True, slots=True)
class Epochs:
    """What the cache says of an identity's subjects."""

    #: False: the cache may have lost some, so the database must be asked.
    complete: bool
    #: The latest moment before which this identity's tokens are void.
    void_until: datetime | None


def cache_keys(identity: Identity) -> list[str]:
    """The keys that `from_cache` wants the values of, in its order."""
    return [EPOCHS_READY_KEY, *(epoch_key(kind, subject) for kind, subject in _subjects(identity))]


def from_cache(values: Sequence[bytes | None]) -> Epochs:
    """Epochs from the values of `cache_keys`."""
    ready, *epochs = values
    moments = [epoch_moment(value) for value in epochs if value]
    return Epochs(complete=ready is not None, void_until=max(moments, default=None))


def from_store(identity: Identity, revocations: Iterable[Revocation]) -> Epochs:
    """Epochs from the database's rows."""
    subjects = set(_subjects(identity))
    moments = [row.revoked_at for row in revocations if (row.kind, row.subject) in subjects]
    return Epochs(complete=True, void_until=max(moments, default=None))


def revoked(identity: Identity, epochs: Epochs) -> bool:
    """The identity's vault token was issued no later than one of its subjects was revoked."""
    return epochs.void_until is not None and identity.issued_at <= epochs.void_until


def _subjects(identity: Identity) -> tuple[tuple[RevocationKind, str], ...]:
    return (
        (RevocationKind.ALL, ""),
        (RevocationKind.AGENT, identity.agent),
        (RevocationKind.SESSION, identity.session),
        (RevocationKind.OWNER, identity.owner),
    )
