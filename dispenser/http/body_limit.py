from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispenser.http.problems import MEDIA_TYPE, Problem

MAX_BODY_BYTES: Final = 16 * 1024
_TOO_LARGE: Final = Problem(
    status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    code="content_too_large",
    detail=f"A body is at most {MAX_BODY_BYTES} bytes long.",
)


class ClientGone(Exception):
    """The client hung up before its body was whole."""


class BodyLimit:
    """Refuses a body as soon as it is too long, and gives the app whole ones only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            body = await _body(receive, Headers(scope=scope))
        except ClientGone:
            return None
        if body is None:
            refusal = JSONResponse(_TOO_LARGE.document(), _TOO_LARGE.status, media_type=MEDIA_TYPE)
            return await refusal(scope, receive, send)
        return await self._app(scope, _replayed(body, receive), send)


async def _body(receive: Receive, headers: Mapping[str, str]) -> bytes | None:
    """The whole body, or None for one that is too long."""
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MAX_BODY_BYTES:
        return None
    body, more = b"", True
    while more and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body if len(body) <= MAX_BODY_BYTES else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return parts.pop() if parts else await receive()

    return replay
