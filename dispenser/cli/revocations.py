import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import typer

from dispenser import audit_record
from dispenser.cli.act import DOOR, written
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.output import aside
from dispenser.cli.session import execute, opened
from dispenser.revoke import (
    revoke_agent,
    revoke_everything,
    revoke_grant,
    revoke_owner,
    revoke_provider,
    revoke_subject,
)
from dispenser.wiring.world import World
from shared.errors import StoreUnavailable
from shared.model import (
    AgentName,
    AuditRecord,
    Grant,
    Offer,
    Owner,
    ProviderName,
    RevocationKind,
    ServiceName,
)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
revoke = typer.Typer(help="Take rights back; it holds from the next request on.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Revocation of more than one agent or grant, and of less."""
    app.add_typer(revoke, name="revoke")


@revoke.command("token")
def token(token_id: Annotated[str, typer.Argument(help="The vault token's `jti`.")]) -> None:
    """Void one vault token. What it was renewed to has another id: see `session`."""
    execute(subject_revoked(RevocationKind.TOKEN, token_id))
    aside.print(f"Revoked vault token {token_id}.")


@revoke.command("session")
def session(session_id: str) -> None:
    """Void a session's vault tokens, renewed ones too."""
    execute(subject_revoked(RevocationKind.SESSION, session_id))
    aside.print(f"Revoked session {session_id}.")


@revoke.command("owner")
def owner(name: str, *, yes: Yes = False) -> None:
    """Void the vault tokens on an owner's behalf, and revoke all its grants."""
    _confirm(f"Every grant of {name}, and every session on its behalf?", yes=yes)
    _tell(execute(_owner(Owner(name))))


@revoke.command("provider")
def provider(name: str, *, yes: Yes = False) -> None:
    """Revoke every grant at a provider, whoever gave it."""
    _confirm(f"Every owner's grants at {name}?", yes=yes)
    _tell(execute(_provider(ProviderName(name))))


@revoke.command("everything")
def everything(*, yes: Yes = False) -> None:
    """Void every vault token, and revoke every grant there is."""
    _confirm("Every vault token and every grant there is?", yes=yes)
    _tell(execute(_everything()))


async def subject_revoked(kind: RevocationKind, subject: str) -> None:
    """Void a subject's vault tokens, and write it down."""
    async with _revoking() as (at, now, records):
        await revoke_subject(at.store, at.cache, kind, subject, now)
        records.append(audit_record.of_revocation(kind.value, subject, door=DOOR, at=now))


async def agent_revoked(name: AgentName) -> bool:
    """Revoke an agent, and write it down. False: there is none of that name."""
    async with _revoking() as (at, now, records):
        if not await revoke_agent(at.store, at.cache, name, now):
            return False
        records.append(audit_record.of_revocation("agent", name, door=DOOR, at=now))
        return True


async def grant_revoked(service: ServiceName, owner: Owner) -> str:
    """Revoke a grant, write it down, and return what to say of it."""
    async with _revoking() as (at, now, records):
        found = await at.store.grants.find(service, owner)
        if found is None:
            raise Refused(f"{owner} has not connected {service}: `dispenser grant list` shows what there is.")
        revoked = await revoke_grant(at.store, at.cache, found, now)
        if revoked is None:
            raise Refused(f"{service} of {owner} was revoked before.")
        records.extend(_of_grants([revoked], now))
        return _of_providers([revoked], await at.store.catalogue.offer())


async def _owner(name: Owner) -> str:
    async with _revoking() as (at, now, records):
        revoked = await revoke_owner(at.store, at.cache, name, now)
        records.append(audit_record.of_revocation("owner", name, owner=name, door=DOOR, at=now))
        return await _summary(at, now, revoked, records)


async def _provider(name: ProviderName) -> str:
    async with _revoking() as (at, now, records):
        if name not in (await at.store.catalogue.offer()).providers:
            raise Refused(f"There is no provider {name!r}: `dispenser provider list` shows those there are.")
        revoked = await revoke_provider(at.store, at.cache, name, now)
        records.append(audit_record.of_revocation("provider", name, door=DOOR, at=now))
        return await _summary(at, now, revoked, records)


async def _everything() -> str:
    async with _revoking() as (at, now, records):
        revoked = await revoke_everything(at.store, at.cache, now)
        records.append(audit_record.of_revocation("everything", "", door=DOOR, at=now))
        return await _summary(at, now, revoked, records)


@asynccontextmanager
async def _revoking() -> AsyncIterator[tuple[World, datetime, list[AuditRecord]]]:
    """The vault, the moment, and a list whose records are written at the end.

    What they tell of has happened by then, so that an audit that fails stops nothing.
    """
    records: list[AuditRecord] = []
    async with opened() as at:
        yield at, at.clock(), records
        try:
            await written(at, records)
        except StoreUnavailable as error:
            aside.print(f"It is revoked, and not in the audit: {error}", style="red", markup=False)


async def _summary(at: World, now: datetime, revoked: Sequence[Grant], records: list[AuditRecord]) -> str:
    records.extend(_of_grants(revoked, now))
    said = _of_providers(revoked, await at.store.catalogue.offer()) if revoked else ""
    return f"Revoked {len(revoked)} grants.\n{said}".strip()


def _of_grants(revoked: Sequence[Grant], now: datetime) -> list[AuditRecord]:
    return [
        audit_record.of_revocation(
            "grant", "", owner=g.owner, service=g.service, generation=g.generation, door=DOOR, at=now
        )
        for g in revoked
    ]


def _of_providers(revoked: Sequence[Grant], offer: Offer) -> str:
    """What becomes of revoked grants at their providers, and what does not."""
    told = {provider.name for provider in offer.providers.values() if provider.revocation_url}
    at = {offer.services[g.service].provider for g in revoked if g.service in offer.services}
    lines = ["Access tokens that agents hold already live to their end, unless their provider ends them."]
    if at & told:
        lines.append(
            f"A refresher gives the refresh tokens back to {_names(at & told)} (RFC 7009). Some providers "
            "end with one all that an owner has granted to one client, for other services too."
        )
    if at - told:
        lines.append(
            f"{_names(at - told)} is not told: no `revocation_url` is declared. End it there by hand."
        )
    return "\n".join(lines)


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Usage(f"{question} Nobody is there to ask: add --yes.")
    if not typer.confirm(question):
        raise Refused("Nothing was revoked.")


def _tell(said: str) -> None:
    aside.print(said, markup=False, soft_wrap=True)
