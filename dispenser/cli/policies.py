from typing import Annotated, Any

import typer

from dispenser.cli.failure import Exit
from dispenser.cli.output import AsJson, listing, screen, value
from dispenser.cli.session import execute, opened
from dispenser.policy import Allowed, Denied, Query, evaluate, matches
from dispenser.wiring.world import utc_now
from shared.model import AgentName, Catalogue, Owner, ServiceName

policy = typer.Typer(help="Who may have what.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Policies."""
    app.add_typer(policy, name="policy")


@policy.command("list")
def list_policies(*, as_json: AsJson = False) -> None:
    """List policies."""
    rows = [
        {
            "policy": declared.name,
            "effect": declared.effect.value,
            "agents": list(declared.agents),
            "services": list(declared.services),
            "owners": list(declared.owners),
            "scopes": None if declared.scopes is None else list(declared.scopes),
            "max_ttl_seconds": declared.max_ttl_seconds,
            "expires_at": declared.expires_at,
        }
        for declared in execute(_catalogue()).policies
    ]
    listing(rows, as_json=as_json, empty="No policy is declared, so every agent is denied everything.")


@policy.command("explain")
def explain(
    *,
    agent: Annotated[str, typer.Option(help="The agent that asks.")],
    service: Annotated[str, typer.Option(help="The service it asks for.")],
    owner: Annotated[str, typer.Option(help="Whose account it asks for.")],
    session_owner: Annotated[
        str, typer.Option(help="The owner in its vault token; --owner by default.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say whether an agent may have a service, by which policy, and how each policy bears on it.

    Exit code 3 when it is denied.
    """
    catalogue = execute(_catalogue())
    declared = catalogue.services.get(ServiceName(service))
    query = Query(
        agent=AgentName(agent),
        session_owner=Owner(session_owner or owner),
        service=ServiceName(service),
        owner=Owner(owner),
        scopes=frozenset(declared.scopes if declared else ()),
        min_ttl_seconds=0.0,
    )
    now = utc_now()
    verdict = evaluate(catalogue.policies, query, now)
    bearing = [
        {"policy": p.name, "effect": p.effect.value, "matches": matches(p, query, now)}
        for p in catalogue.policies
    ]
    hints = _hints(catalogue, query)
    if as_json:
        value({**_verdict(verdict), "hints": hints, "policies": bearing})
    else:
        screen.print(_sentence(verdict), style="green" if isinstance(verdict, Allowed) else "red")
        for hint in hints:
            screen.print(hint, style="yellow")
        listing(bearing, as_json=False, empty="There are no policies at all: `dispenser apply` brings some.")
    if isinstance(verdict, Denied):
        raise typer.Exit(Exit.REFUSED)


def _verdict(verdict: Allowed | Denied) -> dict[str, Any]:
    allowed = isinstance(verdict, Allowed)
    return {"allowed": allowed, "policy": verdict.policy, "reason": _sentence(verdict)}


def _sentence(verdict: Allowed | Denied) -> str:
    if isinstance(verdict, Denied):
        return f"Denied. {verdict.reason}"
    limit = f", for at most {verdict.max_ttl_seconds} s at a time" if verdict.max_ttl_seconds else ""
    return f"Allowed by policy {verdict.policy}{limit}."


def _hints(catalogue: Catalogue, query: Query) -> list[str]:
    """What would stand in the way even of an allowed request."""
    hints = []
    if query.service not in catalogue.services:
        hints.append(f"There is no service {query.service!r}.")
    agent = catalogue.agents.get(query.agent)
    if agent is None:
        hints.append(f"There is no agent {query.agent!r}: it cannot have a vault token.")
    elif agent.revoked_at is not None:
        hints.append(f"{agent.name} was revoked: it gets nothing until it is restored.")
    return hints


async def _catalogue() -> Catalogue:
    async with opened() as at:
        return await at.store.catalogue.load()
