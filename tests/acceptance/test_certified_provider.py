"""The whole road against an OAuth server that nobody here wrote: oidc-provider, strict about everything.

Consent through its login and consent pages, then rotations end to end over RabbitMQ, each token checked with
the provider that issued it.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import httpx
from acceptance.browser import Browser
from acceptance.declared import declared
from acceptance.installation import COMMAND, Installation
from acceptance.oidc_server import OidcServer
from services.server import free_port

from dispenser import Token, Vault

ROTATIONS = 5
ACCESS_TOKEN_SECONDS = 6


async def test_consent_on_the_command_line_and_five_rotations(
    installation: Installation, start_oidc_provider: Callable[..., OidcServer]
) -> None:
    provider = start_oidc_provider(
        access_token_seconds=ACCESS_TOKEN_SECONDS, scopes=("openid", "offline_access", "tasks:write")
    )
    callback = f"http://127.0.0.1:{free_port()}/callback"
    installation.declare(catalogue(provider, callback), PROVIDER_SECRET=provider.client_secret)
    for process in (("work", "refresher"), ("work", "scheduler"), ("serve",)):
        installation.start(*process)

    async with httpx.AsyncClient() as http:
        await consent_on_the_command_line(installation, Browser(http, "ada"))
        async with Vault(installation.broker, installation.agent_token("tracker", "ada")) as vault:
            first = await vault.token("time-tracker")
            await check(http, provider, first)
            last = first
            while last.generation < first.generation + ROTATIONS:
                last = await next_token(vault, last)
                await check(http, provider, last)

    assert first.scopes == last.scopes
    [grant] = installation.shown("grant", "list")
    assert (grant["state"], grant["failures"]) == ("active", 0)


async def test_consent_in_a_browser_at_the_gateway(
    installation: Installation, start_oidc_provider: Callable[..., OidcServer]
) -> None:
    gateway = installation.environment["DISPENSER_PUBLIC_URL"]
    provider = start_oidc_provider(scopes=("openid", "offline_access", "tasks:write"))
    installation.declare(
        catalogue(provider, f"{gateway}/v1/oauth/callback"), PROVIDER_SECRET=provider.client_secret
    )
    installation.start("work", "refresher")
    installation.start("gateway", "--port", str(installation.gateway_port))
    vault_token = installation.agent_token("tracker", "ada")

    async with httpx.AsyncClient() as http:
        refusal = await http.get(
            f"{gateway}/v1/agents/tracker/credentials/time-tracker",
            headers={"Authorization": f"Bearer {vault_token}"},
        )
        assert (refusal.status_code, refusal.json()["code"]) == (409, "reauth_required")

        page = await Browser(http, "ada").consent(refusal.json()["connect_url"])
        assert page.status_code == 200
        assert "connected" in page.text.lower()

        async with Vault(gateway, vault_token) as vault:
            await check(http, provider, await vault.token("time-tracker"))


def catalogue(provider: OidcServer, redirect_uri: str) -> str:
    written = declared(
        authorization_url=provider.authorization_url,
        token_url=provider.token_url,
        client_id=provider.client_id,
        redirect_uri=redirect_uri,
    )
    return written.replace('scopes: ["tasks:write"]', 'scopes: ["openid", "offline_access", "tasks:write"]')


async def consent_on_the_command_line(installation: Installation, browser: Browser) -> None:
    """`dispenser connect --no-browser` prints the address alone on a line, and waits for the callback."""
    connecting = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("connect", "time-tracker", "--owner", "ada", "--no-browser"),
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
    )
    assert connecting.stdout is not None
    address = (await connecting.stdout.readline()).decode().strip()
    await browser.consent(address)
    assert await connecting.wait() == 0


async def next_token(vault: Vault, held: Token) -> Token:
    """The token after this one, which comes without anybody asking for it."""
    while True:
        token = await vault.token("time-tracker")
        if token.generation > held.generation:
            return token
        await asyncio.sleep(0.1)


async def check(http: httpx.AsyncClient, provider: OidcServer, token: Token) -> None:
    """The provider says that it issued this token to ada, and that it is live."""
    answer = await http.get(provider.userinfo_url, headers={"Authorization": token.authorization})
    assert (answer.status_code, answer.json()["sub"]) == (200, "ada")
