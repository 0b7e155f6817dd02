from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Column, Row, Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import agents, catalogue, issuers, policies, providers, services
from shared.adapters.sql.together import Together
from shared.errors import VaultError
from shared.model import Agent, AgentName, Catalogue, Issuer, Offer, Policy, Provider, ProviderName, Service
from shared.ports import Declared

Spec = TypeVar("Spec", Provider, Service, Policy, Issuer)
Shared = TypeVar("Shared", Agent, Policy)

_ROWS_AT_ONCE: Final = 1000
_AGENT: Final = [agents.c[field.name] for field in fields(Agent)]
_PROVIDER: Final = TypeAdapter(Provider)
_SERVICE: Final = TypeAdapter(Service)
_POLICY: Final = TypeAdapter(Policy)
_ISSUER: Final = TypeAdapter(Issuer)
_SECRETS: Final = select(providers.c.name, providers.c.sealed_secrets).where(
    providers.c.name.in_(bindparam("names", expanding=True))
)


class SqlCatalogue:
    """All that is declared: a JSON column each, checked when read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secrets: Together[ProviderName, bytes | None] = Together(self._sealed)

    async def load(self, before: Catalogue | None = None) -> Catalogue:
        """All of it, as of one version. Agents and policies that `before` has alike are the very same.

        So two catalogues, one of them in use, take hardly more memory than one.

        Raises: VaultError for a row that is no declaration.
        """
        async with self._database.reading() as connection:
            offer = await _offer(connection)
            return Catalogue(
                version=offer.version,
                providers=offer.providers,
                services=offer.services,
                agents=await _agents(connection, {} if before is None else before.agents),
                policies=await _policies(connection, () if before is None else before.policies),
                issuers={each.name: each async for each in _read(connection, issuers, _ISSUER)},
            )

    async def offer(self) -> Offer:
        """Services and providers alone. Raises: VaultError for a row that is no declaration."""
        async with self._database.reading() as connection:
            return await _offer(connection)

    async def agent(self, name: AgentName) -> Agent | None:
        """One of them."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(*_AGENT).where(agents.c.name == name))).first()
        return None if row is None else _agent(row)

    async def version(self) -> int:
        """The current version: one row of two integers."""
        async with self._database.reading() as connection:
            return await _version(connection)

    async def apply(self, declared: Declared, now: datetime) -> int:
        """Insert or replace what is declared, and return the new version."""
        async with self._database.writing() as connection:
            version = await _raise_version(connection)
            for table, rows in _declared_rows(declared):
                await self._put(connection, table, [row | {"declared_at": now} for row in rows])
        return version

    async def provider_secrets(self, name: ProviderName) -> bytes | None:
        """The sealed secrets. None: there are none, or no such provider."""
        return await self._secrets.call(name)

    async def set_agent_revoked(self, name: AgentName, revoked_at: datetime | None) -> bool:
        """Revoke or restore an agent. False: there is none of that name, and the version stays."""
        change = update(agents).where(agents.c.name == name).values(revoked_at=revoked_at)
        async with self._database.writing() as connection:
            found = (await connection.execute(change.returning(agents.c.name))).first() is not None
            if found:
                await _raise_version(connection)
        return found

    async def _sealed(self, names: Sequence[ProviderName], *, patient: bool) -> list[bytes | None]:  # noqa: ARG002
        async with self._database.reading() as connection:
            rows = await connection.execute(_SECRETS, {"names": list(dict.fromkeys(names))})
            found = {row.name: row.sealed_secrets for row in rows}
        return [found.get(name) for name in names]

    async def _put(self, connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            insert = self._database.insert(table).values(row)
            replaced = {column: insert.excluded[column] for column in row if column != "name"}
            await connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=replaced))


async def _raise_version(connection: AsyncConnection) -> int:
    # First in its transaction: the row's lock puts concurrent changes in a line.
    raised = update(catalogue).values(version=catalogue.c.version + 1).returning(catalogue.c.version)
    return int((await connection.execute(raised)).scalar_one())


async def _version(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(catalogue.c.version))).scalar_one())


async def _offer(connection: AsyncConnection) -> Offer:
    return Offer(
        version=await _version(connection),
        providers={each.name: each async for each in _read(connection, providers, _PROVIDER)},
        services={each.name: each async for each in _read(connection, services, _SERVICE)},
    )


async def _agents(connection: AsyncConnection, known: Mapping[AgentName, Agent]) -> Mapping[AgentName, Agent]:
    # Copied at once and not grown step by step: each step would leave a hole in the heap.
    found = dict(known)
    seen: dict[Any, Any] = {}
    rows = 0
    async for row in _rows(connection, *_AGENT):
        rows += 1
        read = _agent(row)
        if found.get(read.name) != read:
            found[read.name] = _shared(read, seen, "description")
    # Nothing of ours removes agents; where another's hand did, nothing of before counts.
    return found if len(found) == rows else await _agents(connection, {})


async def _policies(connection: AsyncConnection, known: tuple[Policy, ...]) -> tuple[Policy, ...]:
    before = {policy.name: policy for policy in known}
    seen: dict[Any, Any] = {}
    found = []
    async for read in _read(connection, policies, _POLICY):
        policy = before.get(read.name)
        found.append(policy if policy == read else _shared(read, seen, "services", "owners", "scopes"))
    return known if found == list(known) else tuple(found)


async def _read(connection: AsyncConnection, table: Table, kind: TypeAdapter[Spec]) -> AsyncIterator[Spec]:
    async for row in _rows(connection, table.c.name, table.c.spec):
        yield _spec(kind, row)


async def _rows(connection: AsyncConnection, *columns: Column[Any]) -> AsyncIterator[Row[Any]]:
    """By the first column. Some at a time: a hundred thousand at once take as much memory as they say."""
    found = await connection.stream(select(*columns).order_by(columns[0]))
    async for part in found.partitions(_ROWS_AT_ONCE):
        for row in part:
            yield row


def _declared_rows(declared: Declared) -> list[tuple[Table, list[dict[str, Any]]]]:
    # Providers first: services refer to them.
    return [
        (providers, [_provider_row(provider, sealed) for provider, sealed in declared.providers]),
        (services, [_service_row(service) for service in declared.services]),
        (agents, [_agent_row(agent) for agent in declared.agents]),
        (policies, [_policy_row(policy) for policy in declared.policies]),
        (issuers, [_issuer_row(issuer) for issuer in declared.issuers]),
    ]


def _provider_row(provider: Provider, sealed: bytes | None) -> dict[str, Any]:
    row = {"name": provider.name, "spec": _PROVIDER.dump_python(provider, mode="json")}
    # A secret of None is not a column of the row, so the one there is stays.
    return row if sealed is None else row | {"sealed_secrets": sealed}


def _service_row(service: Service) -> dict[str, Any]:
    spec = _SERVICE.dump_python(service, mode="json")
    return {"name": service.name, "provider": service.provider, "spec": spec}


def _agent_row(agent: Agent) -> dict[str, Any]:
    # Without `revoked_at`: declaring an agent again does not restore it.
    return {
        "name": agent.name,
        "description": agent.description,
        "proof": agent.proof,
        "max_requests_per_second": agent.max_requests_per_second,
        "max_concurrency": agent.max_concurrency,
    }


def _policy_row(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "spec": _POLICY.dump_python(policy, mode="json")}


def _issuer_row(issuer: Issuer) -> dict[str, Any]:
    return {"name": issuer.name, "spec": _ISSUER.dump_python(issuer, mode="json")}


def _agent(row: Row[Any]) -> Agent:
    return Agent(**dict(zip(row._fields, row, strict=True)))


def _shared(noun: Shared, seen: dict[Any, Any], *names: str) -> Shared:
    """With one object for all that is equal: most of many say the same of much."""
    values = {name: getattr(noun, name) for name in names}
    return replace(noun, **{name: seen.setdefault(value, value) for name, value in values.items()})


def _spec(kind: TypeAdapter[Spec], row: Row[Any]) -> Spec:
    try:
        return kind.validate_python(row.spec)
    except ValidationError:
        # Its own message would show the values.
        raise VaultError(
            f"What the database holds as declared for {row.name!r} cannot be read: "
            "declare it again with `dispenser apply`, with the newest version in use."
        ) from None
