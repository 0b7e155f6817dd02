"""Endpoints that a file leaves out are asked for at the issuer, over HTTP."""

from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from dispenser.declared import Declarations, parse
from dispenser.discovery import discover
from dispenser.testing.emulator import Emulator
from dispenser.testing.server import Server
from shared.adapters.provider_http import HttpxProviderHttp
from shared.errors import ConfigurationError
from shared.ports import ProviderHttp


@pytest.fixture
async def http() -> AsyncIterator[ProviderHttp]:
    http = HttpxProviderHttp()
    yield http
    await http.close()


@pytest.fixture
def issuer() -> Iterator[str]:
    """An issuer with a path, whose metadata is where OpenID Connect puts it and nowhere else."""

    async def metadata(request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        return JSONResponse({"issuer": f"{base}/tenant", "token_endpoint": f"{base}/token"})

    async def moved(request: Request) -> Response:
        return RedirectResponse("/tenant/.well-known/openid-configuration")

    async def missing(request: Request) -> Response:
        return JSONResponse({"issuer": "not found"}, status_code=404)

    async def page(request: Request) -> Response:
        return PlainTextResponse("<html>welcome</html>")

    async def deep(request: Request) -> Response:
        return PlainTextResponse("[" * 60_000)

    routes = [
        Route("/.well-known/oauth-authorization-server/deep", deep),
        Route("/deep/.well-known/openid-configuration", deep),
        Route("/tenant/.well-known/openid-configuration", metadata),
        Route("/.well-known/oauth-authorization-server/tenant", missing),
        Route("/.well-known/oauth-authorization-server/moved", moved),
        Route("/.well-known/oauth-authorization-server/page", page),
        Route("/page/.well-known/openid-configuration", page),
    ]
    server = Server(Starlette(routes=routes), 0)
    yield server.url
    server.stop()


def declared(*issuers: str, grant: str = "client_credentials") -> Declarations:
    providers = "\n".join(
        f"  p{number}: {{issuer: '{issuer}', grant: {grant}, client_id: c, client_secret: {{env: S}}, "
        "insecure_local: true}"
        for number, issuer in enumerate(issuers)
    )
    return parse({"a.yaml": f"providers:\n{providers}\n"})


async def test_a_providers_endpoints_come_from_its_metadata(http: ProviderHttp) -> None:
    with Emulator() as emulator:
        found = await discover(http, declared(emulator.issuer, grant="authorization_code"))
        (provider,) = found.providers
        assert provider.token_url == emulator.token_url
        assert provider.authorization_url == emulator.authorization_url
        assert provider.revocation_url == emulator.revocation_url
        assert provider.issuer_in_callback


async def test_the_address_of_openid_connect_is_the_second_try(http: ProviderHttp, issuer: str) -> None:
    (provider,) = (await discover(http, declared(f"{issuer}/tenant"))).providers
    assert provider.token_url == f"{issuer}/token"


async def test_a_complete_provider_is_not_asked_about(http: ProviderHttp) -> None:
    declarations = parse({"a.yaml": "providers: {p: {grant: static, issuer: https://p.invalid}}"})
    assert await discover(http, declarations) == declarations


async def test_every_issuer_without_metadata_is_named(http: ProviderHttp, issuer: str) -> None:
    issuers = (f"{issuer}/moved", f"{issuer}/page", f"{issuer}/none", f"{issuer}/deep", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError) as caught:
        await discover(http, declared(*issuers))
    assert caught.value.mistakes == tuple(
        f"providers.p{number}.issuer: no metadata at its well-known addresses: "
        "check it and the network, or declare the endpoints"
        for number in range(5)
    )


async def test_an_issuer_inside_the_network_is_not_asked_and_the_operator_is_told_why(
    http: ProviderHttp, issuer: str
) -> None:
    port = issuer.rpartition(":")[2]
    declarations = parse(
        {
            "a.yaml": f"providers: {{p: {{issuer: 'https://0x7f000001:{port}/tenant', client_id: c, "
            "grant: client_credentials, client_secret: {env: S}}}"
        }
    )
    with pytest.raises(ConfigurationError) as caught:
        await discover(http, declarations)
    [mistake] = caught.value.mistakes
    assert mistake.startswith("providers.p.issuer: ")
    assert "insecure_local" in mistake
