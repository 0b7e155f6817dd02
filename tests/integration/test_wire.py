"""Whoever listens on the way to the broker learns no vault token under TLS, though it is a password there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.canaries import Canaries
from integration.echo_dispenser import echo_dispenser
from services.authority import Authority
from services.packets import MISSING, at_port, can_capture, captured
from services.server import Server, ServerFailed
from vault_jwt import vault_jwt

from dispenser import Unauthenticated, Vault


async def test_a_login_with_a_vault_token_is_seen_without_tls_and_not_with_it(
    private_broker: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker does not know the token and refuses it: it has been sent all the same."""
    if not can_capture():
        _skip(MISSING)
    ours = Authority()
    (tmp_path / "ca.pem").write_text(ours.pem)
    monkeypatch.setenv("VAULT_CA_FILE", str(tmp_path / "ca.pem"))
    server = private_broker(tls=ours.vouch_for("localhost"))
    seen = {}
    for name, url in (("plain", server.url), ("tls", server.tls_url)):
        token = vault_jwt(serial=len(seen))
        canaries = Canaries()
        canaries.add("vault token", token.rpartition(".")[2])
        with captured(tmp_path / name, [url]):
            async with Vault(url.replace("guest:guest@", ""), token) as vault:
                with pytest.raises(Unauthenticated):
                    await vault.token("time-tracker", deadline=30)
        seen[name] = canaries.in_files(tmp_path / name)
        assert len(at_port(tmp_path / name, url)) >= 2
    assert seen["plain"]
    assert seen["tls"] == {}


async def test_what_is_asked_and_answered_is_seen_neither_way(
    private_broker: Callable[..., Server], tmp_path: Path
) -> None:
    if not can_capture():
        _skip(MISSING)
    server, token, canaries = private_broker(), vault_jwt(), Canaries()
    canaries.add("vault token", token.rpartition(".")[2])
    canaries.add("access token", "token-for-time-tracker")
    with captured(tmp_path / "packets", [server.url]):
        async with echo_dispenser(server.url), Vault(server.url, token) as vault:
            assert (await vault.token("time-tracker")).value == "token-for-time-tracker"
    assert sum(file.stat().st_size for file in at_port(tmp_path / "packets", server.url)) > 1000
    assert canaries.in_files(tmp_path / "packets") == {}


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        raise ServerFailed(reason)
    pytest.skip(reason)
