"""Nouns that many tests need, with what does not matter filled in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from dispenser.vault_token import Identity, mint
from shared import keyring
from shared.model import (
    Agent,
    AgentName,
    Effect,
    Owner,
    Policy,
    Provider,
    ProviderName,
    Service,
    ServiceName,
    SessionId,
)

VAULT = "vault"
KEYS = keyring.parse(json.dumps(keyring.generate()))
OTHER_KEYS = keyring.parse(json.dumps(keyring.generate()))
NOW = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)


def an_identity(**changes: Any) -> Identity:
    values = {
        "agent": AgentName("tracker"),
        "session": SessionId("session-1"),
        "owner": Owner("ada"),
        "token_id": "token-1",
        "issued_at": NOW,
        "expires_at": (NOW + timedelta(minutes=15)).replace(microsecond=0),
    }
    return Identity(**values | changes)


def a_vault_token(keys: keyring.Keyring = KEYS, **changes: Any) -> str:
    return mint(keys, an_identity(**changes), vault=VAULT)


def a_provider(**changes: Any) -> Provider:
    values = {
        "name": ProviderName("strict"),
        "client_id": "client",
        "token_url": "https://id.example/token",
        "authorization_url": "https://id.example/authorize",
    }
    return Provider(**values | changes)


def a_service(**changes: Any) -> Service:
    values = {
        "name": ServiceName("time-tracker"),
        "provider": ProviderName("strict"),
        "scopes": ("tasks:write",),
    }
    return Service(**values | changes)


def an_agent(name: str = "tracker") -> Agent:
    return Agent(name=AgentName(name))


def a_policy(**changes: Any) -> Policy:
    values = {"name": "trackers", "effect": Effect.ALLOW, "agents": ("tracker",), "services": ("*",)}
    return Policy(**values | changes)
