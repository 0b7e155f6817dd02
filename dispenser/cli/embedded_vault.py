"""A whole vault with an emulated provider behind it, in this process: for `dispenser dev` and the demo."""

import asyncio
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx

from dispenser import connect, enrol
from dispenser.apply import apply
from dispenser.cli.failure import Refused
from dispenser.declared import parse
from dispenser.secret_sources import read_secrets
from dispenser.testing.emulator import Emulator
from dispenser.vault_token import Identity, mint
from dispenser.wiring.embedded import embedded
from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.world import World, new_id, utc_now, world
from shared.adapters.sql.store import migrate
from shared.model import (
    AgentName,
    AuthorizationCode,
    EnrolmentState,
    Offer,
    Owner,
    ServiceName,
    SessionId,
)
from shared.settings import Settings

ADMIN_NAME = "embedded"
CALLBACK = "http://127.0.0.1:8765/callback"
DECLARED = """
providers:
  emulated:
    authorization_url: {authorization_url}
    token_url: {token_url}
    revocation_url: {revocation_url}
    client_id: emulated-client
    client_secret: {{env: EMULATED_CLIENT_SECRET}}
    rotation: {{rotates: true, grace_seconds: 0, on_reuse: revoke_family}}
    redirect_uri: http://127.0.0.1:8765/callback
    insecure_local: true
services:
  time-tracker: {{provider: emulated, scopes: ["tasks:write"]}}
  slack-post: {{provider: emulated, scopes: ["chat:write"]}}
  calendar-read: {{provider: emulated, scopes: ["calendar:read"]}}
"""
API_SCOPES = {"time-tracker": "tasks:write", "slack-post": "chat:write", "calendar-read": "calendar:read"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedVault:
    """A running vault."""

    world: World
    url: str
    provider: Emulator
    admin_token: str = field(repr=False)

    def agent_token(self, agent: str, owner: str, *, seconds: int) -> str:
        """A vault token for a new session."""
        now = self.world.clock()
        identity = Identity(
            agent=AgentName(agent),
            session=SessionId(new_id()),
            owner=Owner(owner),
            token_id=new_id(),
            issued_at=now,
            expires_at=now + timedelta(seconds=seconds),
        )
        return mint(self.world.keys, identity, vault=self.world.settings.vault_name)

    async def connect(self, service_name: str, owner: str) -> None:
        """Connect an owner's account by a real consent at the emulated provider. Raises: Refused."""
        offer = await self.world.store.catalogue.offer()
        code = await _consent(offer, ServiceName(service_name), owner)
        provider = offer.providers[offer.services[ServiceName(service_name)].provider]
        at = self.world
        enrolment_id = await enrol.present(
            at.store,
            at.bus,
            at.keys,
            at.clock,
            service=ServiceName(service_name),
            owner=Owner(owner),
            presented=code,
            client=provider.client,
        )
        ended = await enrol.outcome(at.store, enrolment_id)
        if ended is None or ended.state is not EnrolmentState.DONE:
            raise Refused(f"{service_name} could not be connected for {owner}: {ended and ended.error}.")


@asynccontextmanager
async def embedded_vault(
    settings: Settings, provider: Emulator, listening: socket.socket, declared: str
) -> AsyncIterator[EmbeddedVault]:
    """Set up and run a vault whose catalogue is `DECLARED` and what else is declared."""
    KeyringSource(settings).create(utc_now())
    await asyncio.to_thread(migrate, settings.database_url)
    admin_token = secrets.token_urlsafe(32)
    async with world(settings, "embedded") as at:
        await at.bus.start()
        await at.bus.declare()
        await at.store.admins.add(ADMIN_NAME, hashlib.sha256(admin_token.encode()).digest(), at.clock())
        await _declare(at, provider, declared)
        async with embedded(at, listening):
            host, port = listening.getsockname()[:2]
            yield EmbeddedVault(
                world=at, url=f"http://{host}:{port}", provider=provider, admin_token=admin_token
            )


async def _declare(at: World, provider: Emulator, declared: str) -> None:
    addresses = {
        "authorization_url": provider.authorization_url,
        "token_url": provider.token_url,
        "revocation_url": provider.revocation_url,
    }
    declarations = parse({"provider.yaml": DECLARED.format(**addresses), "agents.yaml": declared}, ())
    environment: Mapping[str, str] = {"EMULATED_CLIENT_SECRET": provider.client_secret}
    await apply(at.store, at.keys, declarations, read_secrets(declarations, environment), at.clock())


async def _consent(offer: Offer, name: ServiceName, owner: str) -> AuthorizationCode:
    """What a browser would do: go to the provider, and come back with a code."""
    service = offer.services[name]
    provider = offer.providers[service.provider]
    begun = connect.begin(
        provider, service, redirect_uri=CALLBACK, entropy=secrets.token_bytes(connect.ENTROPY_BYTES)
    )
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(f"{begun.url}&login_hint={owner}")
    parameters = dict(parse_qsl(urlsplit(answer.headers.get("location", "")).query))
    outcome = connect.finish(provider, begun.state, parameters)
    if isinstance(outcome, connect.CallbackRefused):
        raise Refused(outcome.description)
    return AuthorizationCode(
        code=outcome.code, verifier=begun.verifier, redirect_uri=CALLBACK, scopes=service.scopes
    )
