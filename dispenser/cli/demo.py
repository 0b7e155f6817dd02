"""The productivity tracker: two owners, three agents, three services, tokens that live seconds.

Everything that the table at the end claims has been checked against what the provider saw.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import httpx
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from dispenser import Denied, Unauthenticated, Vault, VaultError
from dispenser.cli.embedded_vault import EmbeddedVault
from dispenser.cli.output import aside, screen
from dispenser.revoke import revoke_agent
from dispenser.wiring.world import journal_folder
from shared.model import AgentName, AuditRecord
from workers.audit_shipping import AuditShipping

ACCESS_TOKEN_SECONDS: Final = 6.0
ROTATIONS: Final = 2
PATIENCE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.4
VAULT_TOKEN_SECONDS: Final = 900
#: The intern asks once for what it may not have.
FORBIDDEN: Final = "slack-post"
DECLARED: Final = """
agents:
  tracker: {description: "logs tasks and posts the digest"}
  summarizer: {description: "reads the calendar and posts a summary"}
  intern: {description: "may read the calendar"}
policies:
  - {name: tracker-works, effect: allow, agents: [tracker], services: [time-tracker, slack-post],
     owners: ["$session"], scopes: ["tasks:write", "chat:write"], max_ttl_seconds: 3600}
  - {name: summarizer-works, effect: allow, agents: [summarizer], services: [calendar-read, slack-post],
     owners: ["$session"]}
  - {name: calendars-may-be-read, effect: allow, agents: [intern], services: [calendar-read],
     owners: ["$session"]}
"""


@dataclass(kw_only=True)
class Work:
    """One agent's session, and what came of it."""

    agent: str
    owner: str
    services: tuple[str, ...]
    calls: int = 0
    refused: int = 0
    generations: dict[str, set[int]] = field(default_factory=dict)
    ended_by: str = ""
    rotated: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def rotations(self) -> int:
        """Rotations it worked through, in the service that rotated least."""
        return min((len(seen) for seen in self.generations.values()), default=1) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence, and whether it held."""

    text: str
    held: bool


async def run(vault: EmbeddedVault) -> bool:
    """Play it. True when every claim held."""
    sessions = (
        Work(agent="tracker", owner="ada", services=("time-tracker", "slack-post")),
        Work(agent="summarizer", owner="grace", services=("calendar-read", "slack-post")),
        Work(agent="intern", owner="grace", services=("calendar-read",)),
    )
    await _connect_owners(vault, sessions)
    with Live(_progress(sessions), console=aside, refresh_per_second=8, transient=True) as live:
        denied = await _work(vault, sessions, live)
    records = await _audited(vault)
    claims = _claims(vault, sessions, records, denied=denied)
    _show(sessions, records, claims)
    return all(claim.held for claim in claims)


async def _connect_owners(vault: EmbeddedVault, sessions: Sequence[Work]) -> None:
    places = sorted({(service, work.owner) for work in sessions for service in work.services})
    with aside.status("Owners give their consent …"):
        for service, owner in places:
            await vault.connect(service, owner)
    aside.print(f"[green]✓[/green] {len(places)} grants by consent (authorization code, PKCE)")


async def _work(vault: EmbeddedVault, sessions: Sequence[Work], live: Live) -> bool:
    """Let all agents work until each has seen its rotations; then revoke the intern. True: it was denied."""
    done = asyncio.Event()
    intern = sessions[-1]
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(_draw(live, sessions, done))
        working = [group.create_task(_session(vault, work, done)) for work in sessions]
        denied = await _forbidden(vault, intern)
        await asyncio.gather(*(work.rotated.wait() for work in sessions))
        await revoke_agent(vault.world.store, vault.world.cache, AgentName(intern.agent), vault.world.clock())
        await working[-1]
        done.set()
    return denied


async def _session(vault: EmbeddedVault, work: Work, done: asyncio.Event) -> None:
    """An agent: ask for a token, call the API, again and again."""
    token = vault.agent_token(work.agent, work.owner, seconds=VAULT_TOKEN_SECONDS)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        while not done.is_set() and not work.ended_by:
            # A new client each time, so that every call is a question to the vault.
            async with Vault(_door(vault), token) as asking:
                for service in work.services:
                    await _call(vault, work, asking, api, service)
            await asyncio.sleep(PAUSE_SECONDS)


async def _call(
    vault: EmbeddedVault, work: Work, asking: Vault, api: httpx.AsyncClient, service: str
) -> None:
    try:
        token = await asking.token(service, purpose="demo")
    except Unauthenticated as refusal:
        work.ended_by = refusal.code
        return
    answer = await api.post(
        f"{vault.provider.api_url}/{service}", headers={"Authorization": token.authorization}
    )
    work.calls += 1
    work.refused += answer.status_code != httpx.codes.OK
    work.generations.setdefault(service, set()).add(token.generation)
    if len(work.generations) == len(work.services) and work.rotations >= ROTATIONS:
        work.rotated.set()


async def _forbidden(vault: EmbeddedVault, work: Work) -> bool:
    token = vault.agent_token(work.agent, work.owner, seconds=VAULT_TOKEN_SECONDS)
    async with Vault(_door(vault), token) as asking:
        try:
            await asking.token(FORBIDDEN)
        except Denied:
            return True
        except VaultError:
            return False
    return False


def _door(vault: EmbeddedVault) -> str:
    """The AMQP door on a real broker; the HTTP door of an embedded vault."""
    return vault.url if vault.world.settings.embedded else vault.world.settings.broker_url


async def _audited(vault: EmbeddedVault) -> list[AuditRecord]:
    at = vault.world
    await AuditShipping(journal_folder(at.settings), at.store.audit.append, at.clock).ship()
    return await at.store.audit.query(limit=100_000)


def _claims(
    vault: EmbeddedVault, sessions: Sequence[Work], records: Sequence[AuditRecord], *, denied: bool
) -> list[Claim]:
    calls = sum(work.calls for work in sessions)
    refused = sum(work.refused for work in sessions)
    dispensed = [record for record in records if record.action == "token.dispensed"]
    denials = [r for r in records if r.outcome == "denied" and r.service == FORBIDDEN and r.agent == "intern"]
    provider = vault.provider
    return [
        Claim(text=f"{calls} API calls, each with a live token", held=calls > 0 and refused == 0),
        Claim(
            text=f"{provider.refreshes} rotations, at least {ROTATIONS} under every agent's feet",
            held=min(work.rotations for work in sessions) >= ROTATIONS,
        ),
        Claim(
            text="No refresh token was sent twice",
            held=provider.reuses == 0 and provider.overlaps == 0,
        ),
        Claim(
            text="The intern was denied slack-post, and the audit knows", held=denied and len(denials) == 1
        ),
        Claim(
            text="The intern was revoked, and refused from its next request on",
            held=sessions[-1].ended_by == Unauthenticated.code,
        ),
        Claim(text=f"{len(dispensed)} hand-outs audited, none unaudited", held=len(dispensed) == calls),
    ]


async def _draw(live: Live, sessions: Sequence[Work], done: asyncio.Event) -> None:
    while not done.is_set():
        live.update(_progress(sessions))
        await asyncio.sleep(1 / 8)


def _progress(sessions: Sequence[Work]) -> Group:
    bar = Progress(
        TextColumn("{task.description:28}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} rotations, {task.fields[calls]} calls"),
    )
    for work in sessions:
        bar.add_task(
            f"{work.agent} for {work.owner}",
            total=ROTATIONS,
            completed=min(ROTATIONS, max(0, work.rotations)),
            calls=work.calls,
        )
    return Group(bar)


def _show(sessions: Sequence[Work], records: Sequence[AuditRecord], claims: Sequence[Claim]) -> None:
    screen.print(_sessions_table(sessions))
    screen.print(_audit_table(records))
    for claim in claims:
        screen.print(f"[green]✓[/green] {claim.text}" if claim.held else f"[red]✗ {claim.text}[/red]")


def _sessions_table(sessions: Sequence[Work]) -> Table:
    table = Table(title="Agents", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading in ("agent", "owner", "services", "calls", "rotations", "ended"):
        table.add_column(heading)
    for work in sessions:
        ended = "refused: revoked" if work.ended_by else "at the end"
        services = " ".join(work.services)
        table.add_row(work.agent, work.owner, services, str(work.calls), str(work.rotations), ended)
    return table


def _audit_table(records: Sequence[AuditRecord]) -> Table:
    """One line for each kind of decision, the newest first."""
    kinds: dict[tuple[str, ...], list[AuditRecord]] = {}
    for record in records:
        by = record.agent or "the refresher"
        key = (record.action, record.outcome, by, record.owner, record.service)
        kinds.setdefault(key, []).append(record)
    table = Table(title="Audit", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading in ("action", "outcome", "by", "owner", "service", "times"):
        table.add_column(heading, overflow="fold")
    for (action, outcome, by, owner, service), found in kinds.items():
        table.add_row(action, outcome, by, owner, service, str(len(found)))
    return table
