"""Names over all declared files: each is given once, and each that is referred to is known."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dispenser.declared_document import Document, Mistake, Path
from dispenser.declared_schema import did_you_mean

_NAMED_SECTIONS = ("providers", "services", "agents", "issuers")


def entries(document: Document) -> Iterator[tuple[Path, Any]]:
    """Every declared entry with its path, whatever it is worth."""
    values = document.values if isinstance(document.values, dict) else {}
    for section in _NAMED_SECTIONS:
        named = values.get(section)
        for name in named if isinstance(named, dict) else ():
            yield (section, name), values[section][name]
    policies = values.get("policies")
    for index, policy in enumerate(policies if isinstance(policies, list) else ()):
        yield ("policies", index), policy


def name_mistakes(documents: Sequence[Document], known_providers: Collection[str]) -> Iterator[Mistake]:
    """Names declared twice, and services of a provider that nobody knows."""
    yield from _declared_twice(documents)
    # Of a file that is not YAML nobody knows which providers it declares.
    if not any(document.broken for document in documents):
        yield from _unknown_providers(documents, known_providers)


def _declared_twice(documents: Sequence[Document]) -> Iterator[Mistake]:
    places: dict[tuple[str, str], str] = {}
    for document in documents:
        for path, entry in entries(document):
            key = (str(path[0]), _name(path, entry))
            if key[1] and key in places:
                yield document.mistake(path, f"declared twice under one name, first at {places[key]}")
            places.setdefault(key, document.place(path))


def _unknown_providers(documents: Sequence[Document], known_providers: Collection[str]) -> Iterator[Mistake]:
    written = [(document, path, entry) for document in documents for path, entry in entries(document)]
    known = {*known_providers, *(str(path[1]) for _, path, _ in written if path[0] == "providers")}
    for document, path, entry in written:
        provider = entry.get("provider") if path[0] == "services" and isinstance(entry, dict) else None
        if isinstance(provider, str) and provider not in known:
            near = did_you_mean(provider, sorted(known))
            sentence = f"no provider of this name, neither in these files nor in the catalogue{near}"
            yield document.mistake((*path, "provider"), sentence)


def _name(path: Path, entry: Any) -> str:
    if isinstance(path[1], str):
        return path[1]
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""
