"""Where the provider sends an owner back: the code goes to the refreshers, and the owner sees the outcome."""

import hashlib
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from dispenser import connect, enrol
from dispenser.http import browser
from dispenser.http.description import query_parameters
from dispenser.http.door import Door, TheDoor
from dispenser.http.pages import PENDING, REFUSALS, page
from dispenser.http.problems import Problem, Refused, of_code
from dispenser.protocol import Code
from shared.envelope import open_verifier
from shared.errors import SealBroken
from shared.model import AuthorizationCode, Enrolment, EnrolmentState, Provider, Service
from shared.ports import Consent
from shared.secret import Secret

router = APIRouter(tags=["consent"])


@router.get(
    "/v1/oauth/callback",
    response_class=HTMLResponse,
    responses=PENDING | REFUSALS,
    openapi_extra=query_parameters(
        state="The consent that this answers (RFC 6749 §4.1.2).",
        code="The authorization code.",
        error="In its place: why there is none.",
        iss="The server that answers (RFC 9207).",
    ),
)
async def finish(request: Request, door: TheDoor) -> HTMLResponse:
    """Redeem what the provider sent (RFC 6749 §4.1.2), once and for the browser that began."""
    parameters = _parameters(request)
    consent = await _consent(door, request, parameters)
    service, provider = await _declared(door, consent)
    # The consent was found by the hash of this very `state`.
    callback = connect.finish(provider, parameters["state"], parameters)
    if isinstance(callback, connect.CallbackRefused):
        raise Refused(_failed(callback.error, callback.description))
    enrolment = await _enrolled(door, consent, service, callback.code)
    return await _outcome(door, consent, service, provider, enrolment)


def _parameters(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    parameters = dict(pairs)
    if len(parameters) != len(pairs):  # RFC 6749 §3.1
        raise Refused(
            _failed("invalid_callback", "The answer says something twice. Begin again from the link.")
        )
    return parameters


async def _consent(door: Door, request: Request, parameters: dict[str, str]) -> Consent:
    """The consent that this callback ends. It is over from here on, whatever comes of it."""
    state_hash = hashlib.sha256(parameters.get("state", "").encode()).digest()
    consent = await door.store.consents.take(state_hash, door.clock())
    if consent is None:
        raise Refused(
            _failed(
                "invalid_state",
                "This consent was finished already, or took too long. Begin again from the link.",
            )
        )
    if not browser.same(door, request, consent.browser_hash):
        raise Refused(
            of_code(
                Code.DENIED,
                "This consent was begun in another browser. Begin again from the link, in this one.",
            )
        )
    return consent


async def _declared(door: Door, consent: Consent) -> tuple[Service, Provider]:
    offer = await door.store.catalogue.offer()
    service = offer.services.get(consent.service)
    if service is None:
        raise Refused(of_code(Code.NOT_FOUND, "There is no such service any more."))
    return service, offer.providers[service.provider]


async def _enrolled(door: Door, consent: Consent, service: Service, code: Secret) -> Enrolment | None:
    try:
        verifier, client = open_verifier(
            door.keys, consent.state_hash, consent.service, consent.owner, consent.sealed_verifier
        )
    except SealBroken:
        raise Refused(
            _failed("invalid_state", "This consent was altered. Begin again from the link.")
        ) from None
    presented = AuthorizationCode(
        code=code, verifier=verifier, redirect_uri=consent.redirect_uri, scopes=service.scopes
    )
    enrolment_id = await enrol.present(
        door.store,
        door.bus,
        door.keys,
        door.clock,
        service=consent.service,
        owner=consent.owner,
        presented=presented,
        client=client,
    )
    return await enrol.outcome(door.store, enrolment_id)


async def _outcome(
    door: Door, consent: Consent, service: Service, provider: Provider, enrolment: Enrolment | None
) -> HTMLResponse:
    if enrolment is not None and enrolment.state is EnrolmentState.FAILED:
        raise Refused(
            _failed(
                enrolment.error or "enrolment_failed",
                f"{provider.name} did not give a token for this consent. Begin again from the link.",
            )
        )
    grant = await door.store.grants.find(consent.service, consent.owner)
    if enrolment is None or enrolment.state is EnrolmentState.PENDING or grant is None:
        return page("pending.html", status=HTTPStatus.ACCEPTED, service=service, owner=consent.owner)
    missing = [scope for scope in service.scopes if scope not in grant.scopes]
    return page("connected.html", service=service, provider=provider, grant=grant, missing=missing)


def _failed(code: str, detail: str) -> Problem:
    return Problem(status=HTTPStatus.BAD_REQUEST, code=code, detail=detail)
