"""What is there before a run begins, and what owners do meanwhile."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from simulation import inline_sqlite
from simulation.member import AGENT, Place, World
from simulation.memory_store import MemoryStore
from simulation.network import at_once
from simulation.plan import Account, Plan
from simulation.process import BEGINNING, CURRENT

from shared import expiry, keyring
from shared.adapters.sql import rotations
from shared.cache_keys import token_key
from shared.envelope import fingerprint, seal_credential, seal_enrolment, seal_provider_secrets, seal_token
from shared.messages import EnrolmentEvent, encode
from shared.model import (
    AccessToken,
    Agent,
    Client,
    ClientItself,
    Credential,
    Effect,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Grant,
    GrantId,
    GrantKind,
    GrantState,
    Owner,
    Policy,
    Provider,
    ProviderSecrets,
    RefreshToken,
    Service,
    ServiceName,
)
from shared.ports import Declared, Delivery, Store
from shared.secret import Secret
from shared.topology import REFRESH_EXCHANGE, URGENT_KEY


@cache
def keys() -> keyring.Keyring:
    """One keyring for all runs: it is slow to make and plays no part."""
    return keyring.parse(json.dumps(keyring.generate()))


def store(*, sql: bool) -> Store:
    """An empty store."""
    return inline_sqlite.fresh() if sql else MemoryStore()


@contextmanager
def numbered_intents() -> Iterator[None]:
    """The SQL store's own ids are chance, and in their order spools are replayed."""
    numbers = itertools.count(1)
    with patch.object(rotations, "uuid4", lambda: SimpleNamespace(hex=f"intent-{next(numbers)}")):
        yield


def place(account: Account) -> Place:
    """The service and the owner of an account."""
    return ServiceName(account.habit.name), Owner(account.owner)


def lay(world: World, plan: Plan) -> None:
    """Declare everything, and have every account connected."""
    services = [Service(name=ServiceName(name), provider=_provider(plan, name).name) for name in plan.lives]
    declared = Declared(
        providers=[_declared(world, _provider(plan, name)) for name in plan.lives],
        services=services,
        agents=[Agent(name=AGENT)],
        policies=[Policy(name="all", effect=Effect.ALLOW)],
    )
    at_once(world.store.catalogue.apply(declared, BEGINNING))
    for account in plan.accounts:
        _connect(world, plan, account)


def reconnect(world: World, account: Account) -> None:
    """The owner consents anew; what comes of it a refresher has to fetch."""
    service, owner = place(account)
    if account.habit.grant is not GrantKind.AUTHORIZATION_CODE:
        return
    number = round(world.history.now() * 1000)
    enrolment_id, now = EnrolmentId(f"enrolment-{number}"), CURRENT.get().clock()
    presented = RefreshToken(value=Secret(world.providers[service].consent()), client=_client(world, service))
    enrolment = Enrolment(
        id=enrolment_id,
        service=service,
        owner=owner,
        state=EnrolmentState.PENDING,
        sealed=seal_enrolment(world.keys, enrolment_id, service, owner, presented),
        error=None,
        created_at=now,
        expires_at=now + timedelta(seconds=600),
    )
    at_once(world.store.enrolments.add(enrolment))
    world.broker.publish(REFRESH_EXCHANGE, _urgent(encode(EnrolmentEvent(enrolment_id=enrolment_id))))


def revoke(world: World, account: Account) -> None:
    """The owner revokes the grant."""
    grant = at_once(world.store.grants.find(*place(account)))
    if grant is not None:
        at_once(world.store.grants.revoke(grant.id, CURRENT.get().clock(), ()))


def event_fields(body: bytes) -> dict[str, Any]:
    """What a lifecycle event says."""
    fields: dict[str, Any] = json.loads(body)
    return fields


def _provider(plan: Plan, name: str) -> Provider:
    return next(a.habit for a in plan.accounts if a.habit.name == name).declared(plan.lives[name])


def _client(world: World, service: ServiceName) -> Client:
    catalogue = at_once(world.store.catalogue.load())
    return catalogue.providers[catalogue.services[service].provider].client


def _declared(world: World, provider: Provider) -> tuple[Provider, bytes]:
    return provider, seal_provider_secrets(
        world.keys, provider, ProviderSecrets(client_secrets=(Secret("secret"),))
    )


def _connect(world: World, plan: Plan, account: Account) -> None:
    life = plan.lives[account.habit.name]
    issued = BEGINNING - timedelta(seconds=life * account.age)
    grant = _grant(world, account, issued, issued + timedelta(seconds=life))
    stored = at_once(world.store.enrolments.succeed(EnrolmentId("none"), grant, BEGINNING, ()))
    assert stored
    left = expiry.remaining_seconds(grant.token_expires_at, BEGINNING)
    if left > 0 and grant.sealed_token is not None:
        at_once(world.cache.put_if_newer(token_key(*place(account)), 1, grant.sealed_token, left))


def _grant(world: World, account: Account, issued: datetime, expires: datetime) -> Grant:
    service, owner = place(account)
    provider = world.providers[service]
    grant_id = GrantId(f"grant of {owner}")
    credential: Credential = ClientItself()
    if account.habit.grant is GrantKind.AUTHORIZATION_CODE:
        credential = RefreshToken(value=Secret(provider.consent()), client=_client(world, service))
    kept = isinstance(credential, RefreshToken)
    token = AccessToken(
        value=Secret(f"at:{service}:0:{owner}"), token_type="Bearer", scopes=(), issued_at=issued,
        expires_at=expires, generation=1, grant_id=grant_id,
    )  # fmt: skip
    return Grant(
        id=grant_id,
        service=service,
        owner=owner,
        state=GrantState.ACTIVE,
        generation=1,
        scopes=(),
        sealed_credential=seal_credential(world.keys, grant_id, owner, 1, credential) if kept else None,
        credential_fingerprint=fingerprint(grant_id, credential),
        sealed_token=seal_token(world.keys, service, owner, token),
        token_expires_at=expires,
        refresh_at=expiry.refresh_at(issued, expires, 0.5),
        failures=0,
        last_error=None,
        created_at=issued,
        updated_at=issued,
    )


def _urgent(body: bytes) -> Delivery:
    return Delivery(
        body=body, headers={}, routing_key=URGENT_KEY, correlation_id=None, reply_to=None, user_id=None,
        expiration_seconds=None, redelivered=False,
    )  # fmt: skip
