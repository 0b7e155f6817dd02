"""Two hundred agents, four dispenser processes, one expired token, a provider that forgives nothing."""

import asyncio

from acceptance.declared import declared
from acceptance.installation import Installation

from dispenser import Token, Vault
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

AGENTS = 200
PROCESSES = 4


async def test_one_call_to_the_provider_and_the_same_token_for_all(installation: Installation) -> None:
    async with Emulator(Behaviour(access_token_seconds=1)) as provider:
        installation.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        installation.start("work", "refresher")
        refresh_token = provider.issue_refresh_token("ada", ("tasks:write",))
        installation.done("grant", "import", "time-tracker", "--owner", "ada", stdin=refresh_token)
        installation.start("serve", "--processes", str(PROCESSES))
        installation.outlive_token("time-tracker", "ada")
        provider.behaviour = Behaviour(access_token_seconds=3600, response_delay_seconds=0.5)
        calls_before = provider.token_calls

        tokens = await _asked_at_once(installation, installation.agent_token("tracker", "ada"))

        assert provider.token_calls == calls_before + 1
        assert (provider.reuses, provider.overlaps) == (0, 0)
        assert len(tokens) == AGENTS
        assert len({token.value for token in tokens}) == 1
        records = installation.shown("audit", "--limit", "1000")
        dispensed = [record for record in records if record["action"] == "token.dispensed"]
        assert len(dispensed) == AGENTS
        assert len({record["writer"] for record in dispensed}) == PROCESSES


async def _asked_at_once(installation: Installation, vault_token: str) -> list[Token]:
    connected = asyncio.Barrier(AGENTS)

    async def agent() -> Token:
        async with Vault(installation.broker, vault_token) as vault:
            await connected.wait()
            return await vault.token("time-tracker", deadline=30)

    return await asyncio.gather(*(agent() for _ in range(AGENTS)))
