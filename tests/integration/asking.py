"""An agent at a dispenser whose refreshers are at work beside it."""

import asyncio

from builders import VAULT, a_policy, an_agent, an_identity
from integration.desk import Journal
from integration.refreshing import OWNER, Vault

from dispenser.catalogue_view import CatalogueView
from dispenser.dispense import Dispenser
from dispenser.protocol import RejectedCall, Reply, TokenCall
from dispenser.revocation_view import RevocationView
from shared.ports import Declared

#: The least that an agent waits for a refresh that does not come.
PATIENT_SECONDS = 30.0


async def asked(vault: Vault, call: TokenCall | RejectedCall) -> Reply:
    """An agent's request to a dispenser of this vault, and its reply."""
    agents = Declared(agents=[an_agent()], policies=[a_policy()])
    await vault.store.catalogue.apply(agents, vault.clock())
    catalogue = CatalogueView(vault.store.catalogue)
    await catalogue.look()
    dispenser = Dispenser(
        store=vault.store,
        cache=vault.cache,
        bus=vault.bus,
        keys=vault.keys,
        catalogue=catalogue,
        revocations=RevocationView(vault.store.revocations, vault.clock),
        journal=Journal(),
        clock=vault.clock,
        vault=VAULT,
        connect_url=lambda service, owner: f"https://vault.example/{service}/{owner}",
        new_id=lambda: "new",
    )
    identity = an_identity(owner=OWNER, issued_at=vault.clock())
    asking = dispenser.answer(identity, call, request_id="1", door="test", deadline_seconds=PATIENT_SECONDS)
    return await asyncio.wait_for(asking, PATIENT_SECONDS / 2)
