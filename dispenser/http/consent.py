"""Where an owner begins to connect a service: a page that says what for, then the provider."""

import hashlib
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials

from dispenser import connect, connect_ticket
from dispenser.http import browser
from dispenser.http.arguments import MAX_OWNER_CHARACTERS
from dispenser.http.bodies import FORM_TYPE, form
from dispenser.http.callers import AdminBearer, admin_named
from dispenser.http.description import form_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.pages import REFUSALS, page
from dispenser.http.problems import Problem, Refused, of_code
from dispenser.protocol import Code
from shared.envelope import seal_verifier
from shared.model import SHARED_OWNER, Client, GrantKind, Owner, Provider, Service, ServiceName
from shared.ports import Consent

#: What a browser says of a request that one of our own pages makes (https://www.w3.org/TR/fetch-metadata/).
OUR_PAGE: Final = "same-origin"
#: Seconds from "Continue" to the callback.
CONSENT_SECONDS: Final = 600
#: Seconds that the page stays good where an admin opened it without a ticket.
PAGE_SECONDS: Final = 900
router = APIRouter(tags=["consent"])


@router.get("/v1/connect/{service}", response_class=HTMLResponse, responses=REFUSALS)
async def show(
    *,
    service: ServiceName,
    request: Request,
    door: TheDoor,
    bearer: AdminBearer,
    owner: Annotated[Owner, Query(max_length=MAX_OWNER_CHARACTERS)] = SHARED_OWNER,
    ticket: str = "",
) -> HTMLResponse:
    """Tell the owner what is about to be connected. Nothing happens before "Continue"."""
    good = await _good_ticket(door, service, owner, ticket, bearer)
    wanted, provider = await _declared(door, service)
    response = page(
        "consent.html",
        form_action=f"'self' {urlsplit(provider.authorization_url or '').scheme}:",
        service=wanted,
        provider=provider,
        host=urlsplit(provider.authorization_url or "").netloc,
        owner=owner,
        ticket=good,
    )
    browser.mark(door, request, response)
    return response


@router.post(
    "/v1/connect/{service}",
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses=REFUSALS,
    openapi_extra=form_request(
        FORM_TYPE, {"owner": {"type": "string"}, "ticket": {"type": "string", "description": "The page's."}}
    ),
)
async def begin(service: ServiceName, request: Request, door: TheDoor) -> RedirectResponse:
    """Send the owner to the provider. Only our own page leads here: other sites bring no cookie along."""
    if request.headers.get("sec-fetch-site", OUR_PAGE) != OUR_PAGE:
        # A neighbouring subdomain would bring the cookie along: SameSite knows no origins.
        raise Refused(of_code(Code.DENIED, "Another site sent you here. Open the link that you were given."))
    fields = await _fields(request)
    owner, cookie = Owner(fields.get("owner", "")), browser.known(door, request)
    _check_ticket(door, service, owner, fields.get("ticket", ""))
    if cookie is None:
        raise Refused(
            of_code(Code.DENIED, "This browser sent no cookie: allow cookies here and open the link again.")
        )
    wanted, provider = await _declared(door, service)
    address = connect.redirect_uri(door.settings.public_url, provider)
    authorization = connect.begin(
        provider, wanted, redirect_uri=address, entropy=door.entropy(connect.ENTROPY_BYTES)
    )
    consent = _consent(
        door,
        authorization=authorization,
        client=provider.client,
        service=service,
        owner=owner,
        redirect_uri=address,
        cookie=cookie,
    )
    await door.store.consents.add(consent)
    return RedirectResponse(authorization.url, HTTPStatus.SEE_OTHER)


def _consent(
    door: Door,
    *,
    authorization: connect.Authorization,
    client: Client,
    service: ServiceName,
    owner: Owner,
    redirect_uri: str,
    cookie: str,
) -> Consent:
    state_hash = hashlib.sha256(authorization.state.encode()).digest()
    return Consent(
        state_hash=state_hash,
        service=service,
        owner=owner,
        sealed_verifier=seal_verifier(door.keys, state_hash, service, owner, authorization.verifier, client),
        redirect_uri=redirect_uri,
        browser_hash=browser.hashed(cookie),
        expires_at=door.clock() + timedelta(seconds=CONSENT_SECONDS),
    )


async def _good_ticket(
    door: Door,
    service: ServiceName,
    owner: Owner,
    ticket: str,
    bearer: HTTPAuthorizationCredentials | None,
) -> str:
    """The ticket in the link, or a new one for an admin who came without."""
    if not ticket and await admin_named(bearer, door) is not None:
        expires_at = door.clock() + timedelta(seconds=PAGE_SECONDS)
        return connect_ticket.mint(door.keys, service, owner, expires_at=expires_at)
    _check_ticket(door, service, owner, ticket)
    return ticket


def _check_ticket(door: Door, service: ServiceName, owner: Owner, ticket: str) -> None:
    try:
        connect_ticket.verify(door.keys, ticket, service, owner, now=door.clock())
    except connect_ticket.InvalidTicket as error:
        detail = f"{error} Ask for a new one: the agent that sent you here, or your administrator, has it."
        raise Refused(of_code(Code.UNAUTHENTICATED, detail)) from None


async def _declared(door: Door, name: ServiceName) -> tuple[Service, Provider]:
    offer = await door.store.catalogue.offer()
    service = offer.services.get(name)
    if service is None:
        raise Refused(of_code(Code.NOT_FOUND, "There is no such service any more."))
    provider = offer.providers[service.provider]
    if provider.grant is not GrantKind.AUTHORIZATION_CODE or provider.authorization_url is None:
        detail = "This service is connected by an administrator: there is nothing for an owner to consent to."
        raise Refused(Problem(status=HTTPStatus.CONFLICT, code="no_consent_needed", detail=detail))
    return service, provider


async def _fields(request: Request) -> dict[str, str]:
    try:
        return await form(request)
    except ValueError as error:
        raise Refused(of_code(Code.INVALID_REQUEST, str(error))) from None
