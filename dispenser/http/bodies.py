"""Requests' bodies as values, refused without showing what was in them."""

from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from dispenser.http.problems import Refused, of_mistakes

MAX_FIELDS: Final = 16
FORM_TYPE: Final = "application/x-www-form-urlencoded"
Model = TypeVar("Model", bound=BaseModel)


def json_body(model: type[Model], *, default: Model | None = None) -> Any:
    """A route's argument: the body as a model, whatever content type a plain `curl -d` gave it.

    A browser cannot abuse that: these routes want a bearer token, which no form sends.
    """

    async def read(request: Request) -> Model:
        body = await request.body()
        return default if default is not None and not body else _validated(model, body)

    return Depends(read)


async def form(request: Request) -> dict[str, str]:
    """A form's fields, each once (RFC 6749 §3.1). Raises: ValueError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise ValueError(f"The body is a form: {FORM_TYPE}.")
    pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("A form's field is given once.")
    return fields


def _validated(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Refused(of_mistakes(error.errors(include_url=False, include_input=False))) from None
