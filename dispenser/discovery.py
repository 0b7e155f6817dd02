"""Asks issuers for the endpoints that declared files leave out."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from dispenser.declared import Declarations
from dispenser.provider_metadata import addresses, from_metadata, is_incomplete
from shared.errors import ConfigurationError
from shared.model import Provider
from shared.ports import HttpRequest, NoAnswer, NotAsked, NotSent, ProviderHttp

HTTP_OK = 200


async def discover(http: ProviderHttp, declarations: Declarations) -> Declarations:
    """The declarations with every provider's endpoints filled in; asks nobody where none is missing.

    Raises: ConfigurationError with what is wrong with any issuer's metadata.
    """
    found = await asyncio.gather(
        *(_completed(http, provider) for provider in declarations.providers), return_exceptions=True
    )
    mistakes: list[str] = []
    for outcome in found:
        if isinstance(outcome, ConfigurationError):
            mistakes += outcome.mistakes
        elif isinstance(outcome, BaseException):
            raise outcome
    if mistakes:
        raise ConfigurationError(mistakes)
    return replace(declarations, providers=tuple(p for p in found if isinstance(p, Provider)))


async def _completed(http: ProviderHttp, provider: Provider) -> Provider:
    if provider.issuer is None or not is_incomplete(provider):
        return provider
    for address in addresses(provider.issuer):
        document = await _document(http, provider, address)
        if document is not None:
            return from_metadata(provider, document)
    sentence = "no metadata at its well-known addresses: check it and the network, or declare the endpoints"
    raise ConfigurationError([f"providers.{provider.name}.issuer: {sentence}"])


async def _document(http: ProviderHttp, provider: Provider, address: str) -> dict[str, Any] | None:
    request = HttpRequest(
        method="GET",
        url=address,
        headers={"Accept": "application/json"},
        body=b"",
        local=provider.insecure_local,
    )
    try:
        response = await http.send(request)
        document = json.loads(response.body) if response.status == HTTP_OK else None
    except NotAsked as error:
        raise ConfigurationError([f"providers.{provider.name}.issuer: {error}"]) from None
    except (NotSent, NoAnswer, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
