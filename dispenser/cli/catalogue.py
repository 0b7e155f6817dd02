import typer

from dispenser.cli.failure import Exit, Refused
from dispenser.cli.output import AsJson, listing, screen, value
from dispenser.cli.session import execute, opened
from dispenser.wiring.provider_http import provider_http
from dispenser.wiring.world import new_id
from shared.model import Offer, ProviderName
from workers.probe import Finding, probe

provider = typer.Typer(help="The authorization servers that grants come from.", no_args_is_help=True)
service = typer.Typer(help="What agents can ask for.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """What is declared."""
    app.add_typer(provider, name="provider")
    app.add_typer(service, name="service")


@provider.command("list")
def list_providers(*, as_json: AsJson = False) -> None:
    """List providers."""
    rows = [
        {
            "provider": declared.name,
            "grant": declared.grant.value,
            "client_id": declared.client_id,
            "client_auth": declared.client_auth.value,
            "rotates": declared.rotation.rotates,
            "token_url": declared.token_url,
        }
        for declared in execute(_offer()).providers.values()
    ]
    listing(rows, as_json=as_json, empty="No provider is declared: `dispenser apply FILE.yaml`.")


@provider.command("test")
def probe_provider(name: str, *, as_json: AsJson = False) -> None:
    """Ask a provider's token endpoint for nothing, and see whether it knows our client.

    Exit code 4 when it does not.
    """
    found = execute(_probed(ProviderName(name)))
    if as_json:
        value({"provider": name, "reachable": found.reachable, "client_known": found.client_known})
    else:
        screen.print(found.says, style="green" if found.client_known else "red")
    if not found.client_known:
        raise typer.Exit(Exit.WORLD)


@service.command("list")
def list_services(*, as_json: AsJson = False) -> None:
    """List services."""
    rows = [
        {
            "service": declared.name,
            "provider": declared.provider,
            "scopes": list(declared.scopes),
            "audience": declared.audience,
        }
        for declared in execute(_offer()).services.values()
    ]
    listing(rows, as_json=as_json, empty="No service is declared: `dispenser apply FILE.yaml`.")


async def _offer() -> Offer:
    async with opened() as at:
        return await at.store.catalogue.offer()


async def _probed(name: ProviderName) -> Finding:
    async with opened() as at:
        declared = (await at.store.catalogue.offer()).providers.get(name)
        if declared is None:
            raise Refused(f"There is no provider {name!r}: `dispenser provider list` shows those there are.")
        sealed = await at.store.catalogue.provider_secrets(name)
        http = provider_http(at.settings)
        try:
            return await probe(http, at.keys, declared, sealed, clock=at.clock, jti=new_id())
        finally:
            await http.close()
