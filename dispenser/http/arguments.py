"""Arguments that several routes take."""

from typing import Annotated

from fastapi import Header, Query

MAX_OWNER_CHARACTERS = 256
OwnerText = Annotated[str | None, Query(min_length=1, max_length=MAX_OWNER_CHARACTERS)]
Prefer = Annotated[
    list[str] | None, Header(description="`wait=N`: how many seconds to wait, at most 30 (RFC 7240).")
]
