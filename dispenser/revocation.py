"""Is a vault token revoked? Epochs say: every token of a subject issued at or before this moment is void."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from dispenser.vault_token import Identity
from shared.cache_keys import epoch_key, epoch_moment
from shared.model import RevocationKind

#: Identities, as many as one process serves at a time: each request asks for the same of one.
_REMEMBERED: Final = 10_000


@lru_cache(maxsize=_REMEMBERED)
def cache_keys(identity: Identity) -> Sequence[str]:
    """Where the cache has the epochs of an identity's subjects."""
    return [epoch_key(kind, subject) for kind, subject in subjects(identity)]


def revoked(
    identity: Identity,
    cached: Sequence[bytes | None],
    known: Mapping[tuple[RevocationKind, str], datetime],
) -> bool:
    """The vault token was issued no later than one of its subjects was revoked.

    `cached`: the values at `cache_keys`, of which some may be lost; `known`: what this process has learned.
    """
    moments = [epoch_moment(value) for value in cached if value]
    moments += [known[subject] for subject in subjects(identity) if subject in known]
    return any(identity.issued_at <= moment for moment in moments)


@lru_cache(maxsize=_REMEMBERED)
def subjects(identity: Identity) -> tuple[tuple[RevocationKind, str], ...]:
    """All that a revocation of this identity's tokens can be about."""
    subjects = (
        (RevocationKind.ALL, ""),
        (RevocationKind.AGENT, identity.agent),
        (RevocationKind.SESSION, identity.session),
        (RevocationKind.TOKEN, identity.token_id),
        (RevocationKind.OWNER, identity.owner),
        (RevocationKind.OWNER, identity.acts_for),
        *((RevocationKind.AGENT, actor) for actor in identity.actors),
    )
    return tuple(dict.fromkeys(subjects))
