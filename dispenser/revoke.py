"""Taking rights back: in the database first, which is the truth, then in the cache, to hold at once."""

import secrets
from datetime import datetime

from shared.cache_keys import REVOKED_SECONDS, TOMBSTONE, epoch_key, epoch_value, epoch_version, token_key
from shared.messages import EventType, LifecycleEvent
from shared.model import AgentName, Grant, Revocation, RevocationKind
from shared.ports import Cache, Store


async def revoke_agent(store: Store, cache: Cache, name: AgentName, now: datetime) -> bool:
    """No token for this agent from now on, and no vault token either. False: there is none of that name.

    Raises: StoreUnavailable; CacheUnavailable once it stands in the database, from where the janitor brings
    it to the cache.
    """
    if not await store.catalogue.set_agent_revoked(name, now):
        return False
    await revoke_subject(store, cache, RevocationKind.AGENT, name, now)
    return True


async def revoke_subject(
    store: Store, cache: Cache, kind: RevocationKind, subject: str, now: datetime
) -> None:
    """Every vault token of the subject issued up to now is void. Raises: as `revoke_agent`."""
    await store.revocations.add(Revocation(kind=kind, subject=subject, revoked_at=now))
    await cache.put_if_newer(epoch_key(kind, subject), epoch_version(now), epoch_value(now), REVOKED_SECONDS)


async def revoke_grant(store: Store, cache: Cache, grant: Grant, now: datetime) -> Grant | None:
    """No token of this grant from now on; its credential is wiped. None: it was revoked already.

    Raises: as `revoke_agent`.
    """
    event = LifecycleEvent(
        id=secrets.token_hex(16),
        type=EventType.REVOKED,
        at=now,
        service=grant.service,
        owner=grant.owner,
        generation=grant.generation + 1,
    )
    revoked = await store.grants.revoke(grant.id, now, [event])
    if revoked is not None:
        key = token_key(revoked.service, revoked.owner)
        await cache.put_if_newer(key, revoked.generation, TOMBSTONE, REVOKED_SECONDS)
    return revoked
