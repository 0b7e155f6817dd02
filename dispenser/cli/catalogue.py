import typer

from dispenser.cli.failure import Refused, Usage
from dispenser.cli.output import AsJson, listing, screen, value
from dispenser.cli.session import execute, opened
from shared.adapters.provider_http import HttpxProviderHttp
from shared.model import GrantKind, Provider, ProviderName
from shared.ports import NoAnswer, NotSent
from workers.probe import Probe, probe

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
        for declared in execute(_catalogue()).providers.values()
    ]
    listing(rows, as_json=as_json, empty="No provider is declared: `dispenser apply FILE.yaml`.")


@provider.command("test")
def test_provider(name: str, *, as_json: AsJson = False) -> None:
    """Ask a provider's token endpoint for nothing, and see whether it knows our client."""
    found = execute(_probed(name))
    if as_json:
        value({"provider": name, "reachable": found.reachable, "client_known": found.client_known})
    else:
        screen.print(found.says)
    if not (found.reachable and found.client_known):
        raise Refused(f"{name} would not issue tokens as it is declared.")


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
        for declared in execute(_catalogue()).services.values()
    ]
    listing(rows, as_json=as_json, empty="No service is declared: `dispenser apply FILE.yaml`.")
