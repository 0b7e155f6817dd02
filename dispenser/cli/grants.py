import asyncio
import secrets
import sys
import webbrowser
from typing import Annotated, Any

import typer

from dispenser import connect, enrol, loopback
from dispenser.cli.act import recorded
from dispenser.cli.bus_session import opened_with_bus
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.output import AsJson, ago, aside, listing, value
from dispenser.cli.revocations import grant_revoked
from dispenser.cli.session import execute, opened
from dispenser.presented import presented
from dispenser.wiring.consent import connect_url
from dispenser.wiring.world import World, utc_now
from shared.model import (
    AuthorizationCode,
    Client,
    Enrolment,
    EnrolmentState,
    Grant,
    GrantKind,
    Owner,
    Presented,
    Provider,
    Service,
    ServiceName,
)

PATIENCE_SECONDS = 60.0
CONSENT_SECONDS = 600.0
GLANCE_SECONDS = 1.0
DEFAULT_REDIRECT_URI = "http://127.0.0.1:8765/callback"
OwnerOption = Annotated[str, typer.Option(help="Whose account it is; `shared` for a team's.")]
grant = typer.Typer(help="What owners gave for services.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Connecting accounts."""
    app.command(name="connect")(connect_service)
    app.add_typer(grant, name="grant")


def connect_service(
    service: str,
    *,
    owner: OwnerOption,
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", help="Print the address alone on a line, and wait for the callback."),
    ] = False,
) -> None:
    """Connect an owner's account: consent at the provider, then the vault keeps the grant fresh."""
    _say_connected(*execute(_connected(ServiceName(service), Owner(owner), no_browser=no_browser)))


@grant.command("import")
def import_grant(service: str, *, owner: OwnerOption) -> None:
    """Take over a credential from standard input: a refresh token, or a static token.

    It is checked by one refresh before it counts.
    """
    if sys.stdin.isatty():
        aside.print("Paste the credential, then press Ctrl-D.")
    text = sys.stdin.read().strip()
    if not text:
        raise Usage("Nothing came in on standard input: `dispenser grant import SERVICE --owner U < token`.")
    _say_connected(*execute(_imported(ServiceName(service), Owner(owner), text)))


@grant.command("list")
def list_grants(
    *,
    service: Annotated[str | None, typer.Option(help="Only this service's.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List grants."""
    found = execute(_selected(service, owner))
    rows = [_details(one) for one in found] if as_json else [_row(one) for one in found]
    listing(
        rows, as_json=as_json, empty="There is no grant: `dispenser connect SERVICE --owner U` makes one."
    )


@grant.command("show")
def show(service: str, *, owner: OwnerOption, as_json: AsJson = False) -> None:
    """Show all that is known of a grant, but for its secrets."""
    details = _details(execute(_one(ServiceName(service), Owner(owner))))
    if as_json:
        value(details)
    else:
        listing([{"field": k, "value": v} for k, v in details.items()], as_json=False, empty="")


@grant.command("revoke")
def revoke(service: str, *, owner: OwnerOption) -> None:
    """Stop a grant's tokens from the next request on, and give its credential back to the provider."""
    said = execute(grant_revoked(ServiceName(service), Owner(owner)))
    aside.print(f"Revoked {service} of {owner}.\n{said}", markup=False, soft_wrap=True)


async def _connected(service_name: ServiceName, owner: Owner, *, no_browser: bool) -> tuple[Grant, Service]:
    async with opened_with_bus() as at:
        service, provider = await _declared(at, service_name)
        if provider.grant is not GrantKind.AUTHORIZATION_CODE:
            return await _enrolled(
                at, provider.client, service_name, owner, _without_consent(provider)
            ), service
        redirect_uri = provider.redirect_uri or DEFAULT_REDIRECT_URI
        if not connect.is_loopback(redirect_uri):
            return await _at_gateway(at, service, owner, no_browser=no_browser), service
        code = await _consented(service, provider, redirect_uri, no_browser=no_browser)
        return await _enrolled(at, provider.client, service_name, owner, code), service


def _without_consent(provider: Provider) -> Presented:
    try:
        return presented(provider.grant, refresh_token=None)
    except ValueError as error:
        raise Usage(f"{error} `dispenser grant import` takes it from standard input.") from None


async def _consented(
    service: Service, provider: Provider, redirect_uri: str, *, no_browser: bool
) -> AuthorizationCode:
    """Lead the owner to the provider and back to this machine (RFC 8252 §7.3)."""
    begun = connect.begin(
        provider, service, redirect_uri=redirect_uri, entropy=secrets.token_bytes(connect.ENTROPY_BYTES)
    )
    async with loopback.listening(redirect_uri, begun.state) as callback:
        _lead_to(begun.url, no_browser=no_browser)
        aside.print(f"Waiting for the consent at {provider.name} …")
        outcome = connect.finish(provider, begun.state, await callback)
    if isinstance(outcome, connect.CallbackRefused):
        raise Refused(f"{outcome.description} ({outcome.error})")
    return AuthorizationCode(
        code=outcome.code, verifier=begun.verifier, redirect_uri=redirect_uri, scopes=service.scopes
    )


async def _at_gateway(at: World, service: Service, owner: Owner, *, no_browser: bool) -> Grant:
    """The provider sends owners back to the gateway, so that is where they begin."""
    before = await at.store.grants.find(service.name, owner)
    _lead_to(connect_url(at)(service.name, owner), no_browser=no_browser)
    aside.print("Waiting for the consent at the gateway …")
    for _ in range(int(CONSENT_SECONDS / GLANCE_SECONDS)):
        await asyncio.sleep(GLANCE_SECONDS)
        granted = await at.store.grants.find(service.name, owner)
        if granted is not None and (before is None or granted.generation > before.generation):
            return granted
    raise Refused(f"No consent has come within {CONSENT_SECONDS / 60:.0f} minutes: begin again.")


def _lead_to(address: str, *, no_browser: bool) -> None:
    if no_browser or not webbrowser.open(address):
        typer.echo(address)


async def _imported(service_name: ServiceName, owner: Owner, text: str) -> tuple[Grant, Service]:
    async with opened_with_bus() as at:
        service, provider = await _declared(at, service_name)
        try:
            brought = presented(provider.grant, refresh_token=text)
        except ValueError as error:
            raise Usage(str(error)) from None
        return await _enrolled(at, provider.client, service_name, owner, brought), service


async def _enrolled(
    at: World, client: Client, service: ServiceName, owner: Owner, brought: Presented
) -> Grant:
    await recorded(at, "grant.presented", service=service, owner=owner)
    enrolment_id = await enrol.present(
        at.store,
        at.bus,
        at.keys,
        at.clock,
        service=service,
        owner=owner,
        presented=brought,
        client=client,
    )
    with aside.status("A refresher is checking it with the provider …"):
        ended = await enrol.outcome(at.store, enrolment_id, patience_seconds=PATIENCE_SECONDS)
    _check(ended)
    granted = await at.store.grants.find(service, owner)
    if granted is None:
        raise Refused("The grant was removed while it was being connected: connect it again.")
    return granted


def _check(ended: Enrolment | None) -> None:
    if ended is None or ended.state is EnrolmentState.PENDING:
        raise Refused(
            f"No refresher has taken it up within {PATIENCE_SECONDS:.0f} s. Is `dispenser work refresher` "
            "running? It goes on by itself once one does: see `dispenser grant list`."
        )
    if ended.state is EnrolmentState.FAILED:
        raise Refused(f"The provider did not take it: {ended.error}. Nothing was stored.")


async def _declared(at: World, name: ServiceName) -> tuple[Service, Provider]:
    offer = await at.store.catalogue.offer()
    service = offer.services.get(name)
    if service is None:
        raise Refused(f"There is no service {name!r}: `dispenser service list` shows those there are.")
    return service, offer.providers[service.provider]


async def _selected(service: str | None, owner: str | None) -> list[Grant]:
    async with opened() as at:
        return await at.store.grants.select(
            service=None if service is None else ServiceName(service),
            owner=None if owner is None else Owner(owner),
        )


async def _one(service: ServiceName, owner: Owner) -> Grant:
    async with opened() as at:
        return await _found(at, service, owner)


async def _found(at: World, service: ServiceName, owner: Owner) -> Grant:
    found = await at.store.grants.find(service, owner)
    if found is None:
        raise Refused(f"{owner} has not connected {service}: `dispenser grant list` shows what there is.")
    return found


def _say_connected(granted: Grant, service: Service) -> None:
    scopes = " ".join(granted.scopes) or "none named"
    aside.print(
        f"[green]✓[/green] {granted.service} is connected for {granted.owner}; scopes granted: {scopes}."
    )
    missing = [scope for scope in service.scopes if scope not in granted.scopes]
    if missing:
        aside.print(
            f"[yellow]![/yellow] Not granted: {' '.join(missing)}. Agents that ask for them are refused; "
            "connect again to consent to all."
        )


def _row(found: Grant) -> dict[str, Any]:
    now = utc_now()
    return {
        "service": found.service,
        "owner": found.owner,
        "state": found.state.value,
        "generation": found.generation,
        "scopes": list(found.scopes),
        "token_ends": "never"
        if found.generation and not found.token_expires_at
        else ago(found.token_expires_at, now),
        "refresh": ago(found.refresh_at, now),
        "last_error": found.last_error,
    }


def _details(found: Grant) -> dict[str, Any]:
    return {
        "id": found.id,
        "service": found.service,
        "owner": found.owner,
        "state": found.state.value,
        "generation": found.generation,
        "scopes": list(found.scopes),
        "token_expires_at": found.token_expires_at,
        "refresh_at": found.refresh_at,
        "credential_expires_at": found.credential_expires_at,
        "failures": found.failures,
        "last_error": found.last_error,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
