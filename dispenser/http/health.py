"""How the process is, for those who run it."""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from dispenser.http.door import TheDoor
from dispenser.vault_token import verification_keys
from shared.errors import VaultError

PING_SECONDS: Final = 2.0
router = APIRouter(tags=["operation"])


class Readiness(BaseModel):
    """Each part: `ok`, or the code of what is wrong with it."""

    store: str
    cache: str
    bus: str


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The event loop turns."""
    return {"status": "ok"}


@router.get("/readyz", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness}})
async def ready(door: TheDoor, response: Response) -> Readiness:
    """Everything that requests need answers."""
    store, cache = await asyncio.gather(_ping(door.store.ping()), _ping(door.cache.ping()))
    parts = Readiness(store=store, cache=cache, bus="ok" if door.bus.connected else "bus_unavailable")
    if {parts.store, parts.cache, parts.bus} != {"ok"}:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return parts


@router.get("/metrics", response_class=Response)
async def metrics(door: TheDoor) -> Response:
    """For Prometheus."""
    return Response(door.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/.well-known/jwks.json")
async def jwks(door: TheDoor) -> dict[str, Any]:
    """The public keys that vault tokens are checked with (RFC 7517 §5)."""
    return dict(verification_keys(door.keys).as_dict(private=False))


async def _ping(answer: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await answer
    except VaultError as error:
        return error.code
    except TimeoutError:
        return "timeout"
    return "ok"
