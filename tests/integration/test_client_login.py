"""The vault token is the agent's password at a RabbitMQ that checks it, on this connection and the next."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from integration.echo_dispenser import echo_dispenser, granted
from integration.line import Line
from services.server import Server

from dispenser import Unauthenticated, Vault
from dispenser.protocol import Call, Code, RenewCall, Reply
from dispenser.vault_token import Identity, mint
from shared import keyring
from shared.keyring import Keyring
from shared.model import AgentName, Owner, SessionId


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ that takes vault tokens signed with `keys`, and has the user `guest` too."""

    url: str
    keys: Keyring

    @property
    def url_without_user(self) -> str:
        return urlsplit(self.url)._replace(netloc=self.url.rpartition("@")[2].rstrip("/")).geturl()


def vault_token(keys: Keyring, *, expires_at: float, issued_at: float = 0.0) -> str:
    identity = Identity(
        agent=AgentName("tracker"),
        session=SessionId("s"),
        owner=Owner("ada"),
        token_id="1",
        issued_at=datetime.fromtimestamp(issued_at or time.time(), UTC),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )
    return mint(keys, identity, vault="vault")


@pytest.fixture
def token_broker(private_broker: Callable[..., Server], tmp_path: Path) -> Broker:
    keys = keyring.parse(json.dumps(keyring.generate()))
    key_id = keys.primary_id("signing")
    pem = tmp_path / "vault.pem"
    pem.write_bytes(keyring.signing_public_pem(keys.signing_public[key_id]))
    conf = f"""
        auth_backends.1 = rabbit_auth_backend_oauth2
        auth_backends.2 = rabbit_auth_backend_internal
        auth_oauth2.resource_server_id = rabbitmq
        auth_oauth2.default_key = {key_id}
        auth_oauth2.signing_keys.{key_id} = {pem}
        auth_oauth2.algorithms.1 = EdDSA
    """
    server = private_broker(plugins=["rabbitmq_auth_backend_oauth2"], conf=conf)
    return Broker(server.address.url, keys)


async def test_a_renewed_vault_token_serves_the_connection_and_those_to_come(token_broker: Broker) -> None:
    now = time.time()
    ends_at = now + 4
    old = vault_token(token_broker.keys, issued_at=now - 60, expires_at=ends_at)
    new = vault_token(token_broker.keys, expires_at=now + 900)

    def answer(call: Call) -> Reply:
        return Reply(code=Code.OK, access_token=new) if isinstance(call, RenewCall) else granted(call)

    line = Line(token_broker.url_without_user, default_port=5672)
    await line.lay()
    [signer] = token_broker.keys.signing_private.values()
    async with echo_dispenser(token_broker.url, signer=signer) as dispenser, Vault(line.url, old) as vault:
        dispenser.answer = answer
        await vault.token("before-the-end")
        await asyncio.sleep(ends_at + 1 - time.time())
        await vault.token("after-the-end")
        await line.cut()
        await line.lay()
        await vault.token("on-a-new-connection")
    await line.cut()
    assert [opening.vault_token for opening in dispenser.openings] == [old, new, new]
    assert {message.user_id for message in dispenser.messages} == {"tracker"}
    renewal, before, after, anew = (message.reply_to for message in dispenser.messages)
    assert renewal == before == after != anew


async def test_a_vault_token_of_another_vault_is_refused_at_once(token_broker: Broker) -> None:
    forged = vault_token(keyring.parse(json.dumps(keyring.generate())), expires_at=time.time() + 900)
    async with Vault(token_broker.url_without_user, forged) as vault, asyncio.timeout(30):
        with pytest.raises(Unauthenticated, match="refused the login"):
            await vault.token("slack-post", deadline=60)
