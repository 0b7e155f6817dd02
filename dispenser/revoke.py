"""Taking rights back: in the database first, which is the truth, then in the cache, to hold at once.

Raises everywhere: StoreUnavailable. A cache that does not answer hands no token out either, and the janitor
brings it what it has missed. Refresh tokens of revoked grants go to the refreshers, who give them back to
their providers (RFC 7009).
"""

import asyncio
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import structlog

from shared.cache_keys import REVOKED_SECONDS, TOMBSTONE, epoch_key, epoch_value, epoch_version, token_key
from shared.errors import CacheUnavailable
from shared.messages import EventType, LifecycleEvent
from shared.model import AgentName, Grant, Owner, ProviderName, Revocation, RevocationKind, ServiceName
from shared.ports import Cache, Store

#: Tombstones on their way to the cache at once.
AT_ONCE: Final = 200
log = structlog.get_logger()


async def revoke_agent(store: Store, cache: Cache, name: AgentName, now: datetime) -> bool:
    """No token for this agent from now on, and no vault token either. False: there is none of that name."""
    if not await store.catalogue.set_agent_revoked(name, now):
        return False
    await revoke_subject(store, cache, RevocationKind.AGENT, name, now)
    return True


async def revoke_subject(
    store: Store, cache: Cache, kind: RevocationKind, subject: str, now: datetime
) -> None:
    """Every vault token of the subject issued up to now is void."""
    await _stand(store, kind, subject, now)
    await _void(cache, kind, subject, now)


async def revoke_grant(store: Store, cache: Cache, grant: Grant, now: datetime) -> Grant | None:
    """No token of this grant from now on; its credential is wiped. None: it was revoked already."""
    revoked = await store.grants.revoke(grant.id, now, [_event(grant, grant.generation + 1, now)])
    if revoked is not None:
        await _bury(cache, [revoked])
    return revoked


async def revoke_owner(store: Store, cache: Cache, owner: Owner, now: datetime) -> list[Grant]:
    """Nothing on this owner's behalf: its vault tokens up to now are void, and all its grants revoked."""
    await _stand(store, RevocationKind.OWNER, owner, now)
    revoked = await _revoke_all(store, now, owner=owner)
    await _void(cache, RevocationKind.OWNER, owner, now)
    await _bury(cache, revoked)
    return revoked


async def revoke_provider(store: Store, cache: Cache, name: ProviderName, now: datetime) -> list[Grant]:
    """All grants at a provider, whoever gave them."""
    services = (await store.catalogue.offer()).services.values()
    revoked = await _revoke_all(store, now, services=[s.name for s in services if s.provider == name])
    await _bury(cache, revoked)
    return revoked


async def revoke_everything(store: Store, cache: Cache, now: datetime) -> list[Grant]:
    """Every vault token up to now, and every grant there is."""
    await _stand(store, RevocationKind.ALL, "", now)
    revoked = await _revoke_all(store, now)
    await _void(cache, RevocationKind.ALL, "", now)
    await _bury(cache, revoked)
    return revoked


async def _stand(store: Store, kind: RevocationKind, subject: str, now: datetime) -> None:
    await store.revocations.add(Revocation(kind=kind, subject=subject, revoked_at=now))


async def _revoke_all(
    store: Store,
    now: datetime,
    *,
    services: Collection[ServiceName] | None = None,
    owner: Owner | None = None,
) -> list[Grant]:
    return await store.grants.revoke_all(
        now, lambda grant: _event(grant, grant.generation, now), services=services, owner=owner
    )


async def _void(cache: Cache, kind: RevocationKind, subject: str, now: datetime) -> None:
    with _left_to_the_janitor():
        await cache.put_if_newer(
            epoch_key(kind, subject), epoch_version(now), epoch_value(now), REVOKED_SECONDS
        )


async def _bury(cache: Cache, revoked: Sequence[Grant]) -> None:
    with _left_to_the_janitor():
        for start in range(0, len(revoked), AT_ONCE):
            group = revoked[start : start + AT_ONCE]
            await asyncio.gather(
                *(
                    cache.put_if_newer(
                        token_key(g.service, g.owner), g.generation, TOMBSTONE, REVOKED_SECONDS
                    )
                    for g in group
                )
            )


@contextmanager
def _left_to_the_janitor() -> Iterator[None]:
    try:
        yield
    except CacheUnavailable:
        log.warning("The cache does not answer: the janitor tells it of the revocation as soon as it does")


def _event(grant: Grant, generation: int, now: datetime) -> LifecycleEvent:
    return LifecycleEvent(
        id=secrets.token_hex(16),
        type=EventType.REVOKED,
        at=now,
        service=grant.service,
        owner=grant.owner,
        generation=generation,
    )
