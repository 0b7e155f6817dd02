"""Brings a catalogue to what the files declare."""

from collections.abc import Mapping
from datetime import datetime

from dispenser.declared import Declarations
from dispenser.difference import Action, Change, Kind, difference, moves
from shared.envelope import seal_provider_secrets
from shared.keyring import Keyring
from shared.model import Provider, ProviderName, ProviderSecrets
from shared.ports import Declared, Store


async def apply(
    store: Store,
    keys: Keyring,
    declarations: Declarations,
    secrets: Mapping[ProviderName, ProviderSecrets],
    now: datetime,
) -> tuple[Change, ...]:
    """Write what is declared, and return what that changed. Where nothing changes and no secret is given,
    nothing is written and the catalogue's version stays.

    Raises: StoreUnavailable, StoreNotMigrated, KeyMissing.
    """
    changes = difference(await store.catalogue.load(), declarations)
    if secrets or any(change.action != Action.UNCHANGED for change in changes):
        await store.catalogue.apply(_sealed(keys, declarations, secrets, changes), now)
    return changes


async def warnings(store: Store, declarations: Declarations) -> tuple[str, ...]:
    """What applying would cost grants that there are. Raises: StoreUnavailable, StoreNotMigrated."""
    said = []
    for move in moves(await store.catalogue.load(), declarations):
        found = await store.grants.select(service=move.service)
        # Without a credential of its own, a grant goes with the client.
        kept = [one for one in found if one.sealed_credential is not None]
        if kept:
            said.append(move.warning(len(kept)))
    return tuple(said)


def _sealed(
    keys: Keyring,
    declarations: Declarations,
    secrets: Mapping[ProviderName, ProviderSecrets],
    changes: tuple[Change, ...],
) -> Declared:
    kept = {c.name for c in changes if c.kind == Kind.PROVIDER and c.action == Action.UNCHANGED}

    def sealed(provider: Provider) -> bytes | None:
        # A changed provider never keeps its old envelope: bound to the old address, it would not open.
        given = secrets.get(provider.name)
        if given is None and provider.name in kept:
            return None
        return seal_provider_secrets(keys, provider, given or ProviderSecrets())

    return Declared(
        providers=[(provider, sealed(provider)) for provider in declarations.providers],
        services=declarations.services,
        agents=declarations.agents,
        policies=declarations.policies,
        issuers=declarations.issuers,
    )
