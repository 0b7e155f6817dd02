import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from dispenser.testing import faults, wording
from dispenser.testing.authority import Granted
from dispenser.testing.clients import Presented, presented
from dispenser.testing.connection import Cut, reset
from dispenser.testing.journal import Received
from dispenser.testing.provider import Provider
from dispenser.testing.refusal import Refusal
from dispenser.testing.tokens import fingerprint


@dataclass(frozen=True, slots=True)
class Call:
    """A client's request, read and noted."""

    form: Mapping[str, str]
    client: Presented
    #: The client says that it takes JSON.
    accepts_json: bool
    #: Its place in the journal.
    place: int


class ClientEndpoints:
    """Where clients authenticate: tokens (with whatever fault is due), revocation and introspection."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._authority = provider.authority

    async def token(self, request: Request) -> ASGIApp:
        """RFC 6749 §3.2."""
        fault = self._provider.faults.take()
        call = await self._read(request, "token", fault)
        try:
            return await self._faulty(call, fault)
        finally:
            self._provider.journal.answered(call.place)

    async def revoke(self, request: Request) -> ASGIApp:
        """RFC 7009 §2."""
        return self._carried_out(await self._read(request, "revoke"), self._revoked)

    async def introspect(self, request: Request) -> ASGIApp:
        """RFC 7662 §2."""
        return self._carried_out(await self._read(request, "introspect"), self._introspected)

    async def _read(self, request: Request, endpoint: str, fault: faults.Fault | None = None) -> Call:
        form = _fields(await request.body(), request.headers.get("content-type", ""))
        client = presented(form, request.headers.get("authorization", ""))
        token = form.get("refresh_token", "")
        received = Received(
            endpoint=endpoint,
            at=self._authority.clock(),
            client_id=client.client_id,
            client_auth=client.method,
            grant_type=form.get("grant_type", ""),
            refresh_token=fingerprint(token) if token else "",
            fault=type(fault).__name__ if fault else "",
        )
        accepts_json = "json" in request.headers.get("accept", "")
        return Call(form, client, accepts_json, self._provider.journal.arrived(received))

    async def _faulty(self, call: Call, fault: faults.Fault | None) -> ASGIApp:
        """The answer to a token request, or what the fault makes of it."""
        if fault is None and self._too_many(call):
            self._provider.journal.note(call.place, "too_many")
            return wording.too_many(self._authority.clock(), self._provider.behaviour)
        match fault:
            case faults.ResetBefore():
                return reset
            case faults.Canned():
                if fault.processed:
                    self._carried_out(call, self._granted)
                return _response(fault.reply())
            case faults.DropRefreshToken():
                return self._carried_out(call, self._granted_without_refresh_token)
            case faults.Hang(processed=False):
                await fault.hold()
        answer = self._carried_out(call, self._granted)
        await asyncio.sleep(self._provider.behaviour.response_delay_seconds)
        return await _spoiled(answer, fault)

    def _carried_out(self, call: Call, carry_out: Callable[[Call], Granted]) -> Response:
        """The provider's own answer, noted in the journal."""
        try:
            granted = carry_out(call)
        except Refusal as refusal:
            self._provider.journal.note(call.place, refusal.outcome)
            return wording.refused(refusal, self._provider.behaviour, basic=call.client.method == "basic")
        self._provider.journal.note(call.place, granted.outcome)
        return wording.granted(
            granted.body,
            self._provider.behaviour,
            grant_type=call.form.get("grant_type", ""),
            accepts_json=call.accepts_json,
        )

    def _too_many(self, call: Call) -> bool:
        most = self._provider.behaviour.max_requests_per_second
        return most is not None and self._provider.journal.in_second_of(call.place) > most

    def _granted(self, call: Call) -> Granted:
        return self._authority.token(call.form, call.client, self._provider.behaviour)

    def _granted_without_refresh_token(self, call: Call) -> Granted:
        behaviour = replace(self._provider.behaviour, omit_refresh_token=True)
        return self._authority.token(call.form, call.client, behaviour)

    def _revoked(self, call: Call) -> Granted:
        client = self._authority.authenticate(call.client, self._provider.behaviour)
        self._authority.revoke(call.form.get("token", ""), client)
        return Granted({}, "revoked")

    def _introspected(self, call: Call) -> Granted:
        self._authority.authenticate(call.client, self._provider.behaviour)
        return Granted(self._authority.introspect(call.form.get("token", "")), "introspected")


async def _spoiled(answer: Response, fault: faults.Fault | None) -> ASGIApp:
    """What becomes of the provider's own answer on its way."""
    match fault:
        case faults.Hang(processed=True):
            await fault.hold()
        case faults.ResetAfterProcessing():
            return reset
        case faults.Truncated():
            return Cut(bytes(answer.body))
        case faults.FormEncoded():
            return wording.form(json.loads(bytes(answer.body)))
    return answer


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    """A request's parameters, from JSON where it says so and from a form otherwise."""
    if not content_type.startswith("application/json"):
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        fields: Any = json.loads(body)
    except ValueError:
        fields = {}
    return {str(k): str(v) for k, v in fields.items()} if isinstance(fields, dict) else {}


def _response(reply: faults.Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)
