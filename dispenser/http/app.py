"""The HTTP door, put together. Whoever wires it passes everything in."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dispenser.dispense import Dispenser
from dispenser.http import (
    audit,
    callback,
    consent,
    credentials,
    exchange,
    grants,
    health,
    revocations,
    tokens,
)
from dispenser.http.admins import Admins
from dispenser.http.body_limit import BodyLimit
from dispenser.http.description import EVERYWHERE, completed
from dispenser.http.door import Door, Entropy
from dispenser.http.headers import DefaultHeaders
from dispenser.http.pages import page
from dispenser.http.problems import (
    MEDIA_TYPE,
    Problem,
    Refused,
    of_error,
    of_mistakes,
    of_status,
)
from dispenser.http.replays import Replays
from dispenser.metrics import Metrics
from dispenser.workloads import Workloads
from shared.errors import VaultError
from shared.keyring import Keyring
from shared.ports import AuditJournal, Bus, Cache, Clock, Store
from shared.settings import Settings

TITLE: Final = "Token dispenser"
API_VERSION: Final = "1"
#: People look at these in a browser, refusals included.
PAGES: Final = ("/v1/connect/", "/v1/oauth/")
INTERNAL: Final = Problem(
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    code="internal_error",
    detail="The vault has a fault of its own. Its log says more.",
)
log = structlog.get_logger()


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The API's description."""
        self.openapi_schema = self.openapi_schema or completed(super().openapi())
        return self.openapi_schema


def build_app(
    *,
    dispenser: Dispenser,
    workloads: Workloads,
    store: Store,
    bus: Bus,
    cache: Cache,
    keys: Keyring,
    journal: AuditJournal,
    settings: Settings,
    clock: Clock,
    entropy: Entropy,
    metrics: Metrics,
) -> FastAPI:
    """The ASGI application. `entropy` gives so many random bytes."""
    app = _App(
        title=TITLE,
        version=API_VERSION,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=EVERYWHERE,
    )
    app.state.door = Door(
        dispenser=dispenser,
        store=store,
        bus=bus,
        cache=cache,
        keys=keys,
        journal=journal,
        settings=settings,
        clock=clock,
        entropy=entropy,
        admins=Admins(store.admins),
        metrics=metrics,
        replays=Replays(cache, clock),
        workloads=workloads,
    )
    for part in (credentials, grants, tokens, exchange, consent, callback, revocations, audit, health):
        app.include_router(part.router)
    app.add_middleware(BodyLimit)
    app.add_middleware(DefaultHeaders)
    _refuse_in_our_words(app)
    return app


def _refuse_in_our_words(app: FastAPI) -> None:
    """Every refusal is a problem document, or a page where people look."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _written(request, error.problem)

    @app.exception_handler(VaultError)
    async def world_failed(request: Request, error: VaultError) -> Response:
        log.warning("A request failed", path=request.scope["route"].path, code=error.code)
        return _written(request, of_error(error))

    @app.exception_handler(RequestValidationError)
    async def mistaken(request: Request, error: RequestValidationError) -> Response:
        return _written(request, of_mistakes(error.errors()))

    @app.exception_handler(HTTPException)
    async def unroutable(request: Request, error: HTTPException) -> Response:
        return _written(request, of_status(error.status_code), error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, _: Exception) -> Response:
        return _written(request, INTERNAL)


def _written(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    shown = {**problem.headers, **(headers or {})}
    if request.url.path.startswith(PAGES):
        return page("refused.html", status=problem.status, headers=shown, problem=problem)
    return JSONResponse(problem.document(), problem.status, shown, media_type=MEDIA_TYPE)
