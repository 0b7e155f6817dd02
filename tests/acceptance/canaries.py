"""Secrets that must be found nowhere, and the search for them in whatever form they may have been written."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

#: Of a file, so much is searched at once.
CHUNK_BYTES = 16 * 1024 * 1024
#: Shorter ones would be found by chance.
SHORTEST = 12


class Canaries:
    """Known secrets, each under what it is: `access token`, `client secret`, …"""

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}

    def add(self, what: str, *secrets: str | bytes) -> None:
        """Search for these too; bytes are searched for in what texts are made of them as well."""
        for secret in secrets:
            assert len(secret) >= SHORTEST, f"a {what} that is too short to be searched for"
            for form, needle in _forms(secret):
                self._needles.setdefault(needle, f"{what}, {form}")

    def only(self, *whats: str) -> "Canaries":
        """Those of some kinds alone."""
        some = Canaries()
        some._needles = {n: what for n, what in self._needles.items() if what.partition(",")[0] in whats}
        return some

    def in_bytes(self, content: bytes) -> set[str]:
        """What is found, and in which form; never the secret itself."""
        return {what for needle, what in self._needles.items() if needle in content}

    def in_files(self, *places: Path) -> Mapping[str, set[str]]:
        """By path, what is found in files and in all that folders hold."""
        found = {str(file): self._in_file(file) for file in _files(places)}
        return {path: what for path, what in found.items() if what}

    def _in_file(self, file: Path) -> set[str]:
        overlap = max(map(len, self._needles), default=1)
        found: set[str] = set()
        kept = b""
        with file.open("rb") as opened:
            while read := opened.read(CHUNK_BYTES):
                found |= self.in_bytes(kept + read)
                kept = read[-overlap:]
        return found


def _forms(secret: str | bytes) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode() if isinstance(secret, str) else secret
    yield "as it is", raw
    if isinstance(secret, str):
        yield "as UTF-16", secret.encode("utf-16-le")
    yield "in hex", raw.hex().encode()
    yield "in hex", raw.hex().upper().encode()
    yield "percent-encoded", quote(secret, safe="").encode()
    yield "percent-encoded", "".join(f"%{byte:02X}" for byte in raw).encode()
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in raw).encode()
    # Three ways, by where in the whole it begins (RFC 4648 §4); what depends on its neighbours is left out.
    for before in range(3):
        shown = base64.b64encode(bytes(before) + raw)[(before * 8 + 5) // 6 : -4]
        yield "in base64", shown
        yield "in base64url", shown.replace(b"+", b"-").replace(b"/", b"_")


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        assert place.exists(), f"{place} was to be searched, and is not there"
        if place.is_dir():
            yield from (file for file in sorted(place.rglob("*")) if file.is_file())
        else:
            yield place
