"""What the vault's parts answer when they are asked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from stat import S_IMODE

from dispenser.cli.session import BUS_PATIENCE_SECONDS, settings
from dispenser.restored import restored_grants
from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.world import World, world
from shared.errors import ConfigurationError, KeyMissing, KeyProviderFailed, VaultError
from shared.model import GrantState
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part, and how it is."""

    part: str
    ok: bool
    says: str


async def status() -> list[Finding]:
    """Database, cache and broker answer; grants by state."""
    async with world(settings(), "status") as at:
        return await _parts(at)


async def doctor() -> list[Finding]:
    """As `status`, and what stands on this machine's disk, and what agents would stumble over."""
    here = settings()
    disk = [_home(here), _keys(here)]
    try:
        async with world(here, "doctor") as at:
            return [*disk, *await _parts(at), *await _declared(at)]
    except (KeyMissing, KeyProviderFailed, ConfigurationError):
        return disk


async def _parts(at: World) -> list[Finding]:
    return [
        await _asked("database", at.store.ping, f"answers ({_scheme(at.settings.database_url)})"),
        await _asked("cache", at.cache.ping, f"answers ({_scheme(at.settings.cache_url)})"),
        await _asked("broker", lambda: _bus_started(at), f"answers ({_scheme(at.settings.broker_url)})"),
        await _grants(at),
    ]


async def _asked(part: str, ask: Callable[[], Awaitable[None]], well: str) -> Finding:
    try:
        await asyncio.wait_for(ask(), BUS_PATIENCE_SECONDS)
    except TimeoutError:
        return Finding(part=part, ok=False, says=f"has not answered within {BUS_PATIENCE_SECONDS:.0f} s")
    except VaultError as error:
        return Finding(part=part, ok=False, says=f"{error} {(type(error).__doc__ or '').strip()}")
    return Finding(part=part, ok=True, says=well)


async def _bus_started(at: World) -> None:
    await at.bus.start()


async def _grants(at: World) -> Finding:
    try:
        counted = await at.store.grants.count()
    except VaultError:
        return Finding(part="grants", ok=False, says="cannot be counted without the database")
    says = ", ".join(f"{counted[state]} {state.value}" for state in GrantState if state in counted)
    return Finding(part="grants", ok=True, says=says or "none yet: `dispenser connect SERVICE --owner U`")


def _home(here: Settings) -> Finding:
    if not here.home.is_dir():
        return Finding(part="home", ok=False, says=f"{here.home} is not there: run `dispenser init`")
    mode = S_IMODE(here.home.stat().st_mode)
    if mode & 0o077:
        return Finding(part="home", ok=False, says=f"{here.home} is open to others: chmod 700 it")
    return Finding(part="home", ok=True, says=str(here.home))


def _keys(here: Settings) -> Finding:
    try:
        source = KeyringSource(here)
        source.document()
    except VaultError as error:
        return Finding(part="keys", ok=False, says=str(error))
    if source.file is None:
        return Finding(part="keys", ok=True, says="given as a text: a rotation wants a restart")
    file = source.file.path
    if S_IMODE(file.stat().st_mode) & 0o077:
        return Finding(part="keys", ok=False, says=f"{file} is readable by others: chmod 600 it")
    return Finding(part="keys", ok=True, says=str(file))


async def _declared(at: World) -> list[Finding]:
    """Things that are well by themselves and of no use together."""
    try:
        catalogue = await at.store.catalogue.load()
        grants = await at.store.grants.select()
        restored = await restored_grants(at.store)
    except VaultError:
        return []
    waiting = [grant for grant in grants if grant.state is GrantState.REAUTH_REQUIRED]
    return [
        Finding(
            part="policies",
            ok=bool(catalogue.policies),
            says=f"{len(catalogue.policies)} declared"
            if catalogue.policies
            else "none: every agent is denied everything until `dispenser apply` brings one",
        ),
        Finding(
            part="consent",
            ok=not waiting,
            says="; ".join(
                f"{grant.owner} has to connect {grant.service} anew ({grant.last_error})" for grant in waiting
            )
            or "no owner is waited for",
        ),
        Finding(
            part="history",
            ok=not restored,
            says="; ".join(map(str, restored)) + ": an older database was restored; connect them anew"
            if restored
            else "no grant is older than the audit",
        ),
    ]


def _scheme(url: str) -> str:
    return url.partition("://")[0]
