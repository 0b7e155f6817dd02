"""What the keyring's document says about its keys: which one is current, and what became of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

Entry = Mapping[str, Any]
#: What stays of a retired key: signatures that are kept can be verified for as long as they are.
LASTING: Final[Mapping[str, tuple[str, ...]]] = {"checkpoint": ("public",)}


class KeyState(StrEnum):
    """A key's life, in order."""

    #: Held by all, used for new values from a moment to come.
    PUBLISHED = "published"
    CURRENT = "current"
    #: Opens and verifies what was made with it, and makes nothing new.
    DECRYPT_ONLY = "decrypt-only"
    #: Gone: of the key itself nothing is left.
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key without the key."""

    id: str
    use: str
    state: KeyState
    made: datetime
    current_from: datetime
    #: When the next of its use becomes current. None: none is to come.
    superseded_at: datetime | None
    retired_at: datetime | None = None


def records(document: Mapping[str, Any], now: datetime) -> list[KeyRecord]:
    """Every key of a keyring's document, by use and in the order of their time."""
    entries: Sequence[Entry] = document["keys"]
    primary = current(entries, now)
    return [
        _record(entry, after, primary, now)
        for use in dict.fromkeys(entry["use"] for entry in entries)
        for entry, after in pairwise([*_of_use(entries, use), None])
        if entry is not None
    ]


def current(entries: Sequence[Entry], now: datetime) -> dict[str, str]:
    """The id of each use's current key.

    Where none has become current yet, the clock of whoever made them is ahead: then it is the first.
    """
    primary = {}
    for use in dict.fromkeys(entry["use"] for entry in entries):
        held = [entry for entry in _of_use(entries, use) if not is_retired(entry)]
        if held:
            primary[use] = ([entry for entry in held if _current_from(entry) <= now] or held[:1])[-1]["id"]
    return primary


def is_retired(entry: Entry) -> bool:
    """Nothing is left of the key but its story."""
    return "retired" in entry


def retired(document: Mapping[str, Any], key_id: str, now: datetime) -> dict[str, Any]:
    """The document without a key: its story stays."""
    kept = [_story(entry, now) if entry["id"] == key_id else entry for entry in document["keys"]]
    return {**document, "keys": kept}


def _story(entry: Entry, now: datetime) -> Entry:
    told = ("id", "use", "made", "current_from", *LASTING.get(entry["use"], ()))
    return {name: entry[name] for name in told} | {"retired": now.isoformat()}


def _of_use(entries: Sequence[Entry], use: str) -> list[Entry]:
    return sorted((entry for entry in entries if entry["use"] == use), key=_current_from)


def _current_from(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry["current_from"])


def _record(entry: Entry, after: Entry | None, primary: Mapping[str, str], now: datetime) -> KeyRecord:
    return KeyRecord(
        id=entry["id"],
        use=entry["use"],
        state=_state(entry, primary, now),
        made=datetime.fromisoformat(entry["made"]),
        current_from=_current_from(entry),
        superseded_at=None if after is None else _current_from(after),
        retired_at=datetime.fromisoformat(entry["retired"]) if is_retired(entry) else None,
    )


def _state(entry: Entry, primary: Mapping[str, str], now: datetime) -> KeyState:
    if is_retired(entry):
        return KeyState.RETIRED
    if primary[entry["use"]] == entry["id"]:
        return KeyState.CURRENT
    return KeyState.PUBLISHED if _current_from(entry) > now else KeyState.DECRYPT_ONLY
