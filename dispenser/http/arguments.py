"""Arguments that several routes take."""

from typing import Annotated

from fastapi import Header, Query
from pydantic import AwareDatetime, BeforeValidator

MAX_OWNER_CHARACTERS = 256


def _spelled_out(value: object) -> object:
    """RFC 3339 alone: pydantic would take a number for seconds since 1970."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("a time is written as 2030-12-31T00:00:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_spelled_out)]
OwnerText = Annotated[str | None, Query(min_length=1, max_length=MAX_OWNER_CHARACTERS)]
Prefer = Annotated[
    list[str] | None, Header(description="`wait=N`: how many seconds to wait, at most 30 (RFC 7240).")
]
