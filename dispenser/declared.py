"""The files people write: providers, services, agents, policies and issuers, read whole or refused whole."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from dispenser.declared_document import Document, Mistake, Path, read
from dispenser.declared_names import entries, name_mistakes
from dispenser.declared_rules import default_client_auth, issuer_findings, policy_findings, provider_findings
from dispenser.declared_schema import (
    Written,
    WrittenClaim,
    WrittenFile,
    WrittenIssuer,
    WrittenPolicy,
    WrittenProvider,
    WrittenReference,
    shape,
)
from shared.errors import ConfigurationError
from shared.model import (
    Agent,
    AgentName,
    AnswerPath,
    FromClaim,
    Issuer,
    IssuerName,
    IssuerRule,
    Owner,
    Policy,
    Provider,
    ProviderName,
    Rotation,
    Service,
    ServiceName,
)

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """Where a secret lies: in an environment variable or in a file, one of the two."""

    #: `file:line: path` of the reference, for messages.
    place: str
    #: The declared file that names it: a relative path starts at its folder.
    declared_in: str
    env: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReferences:
    """Where a provider's secrets lie: the shape of `ProviderSecrets`."""

    client_secrets: tuple[SecretReference, ...] = ()
    private_key: SecretReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """What a set of files declares. Holds no secret."""

    providers: tuple[Provider, ...] = ()
    services: tuple[Service, ...] = ()
    agents: tuple[Agent, ...] = ()
    policies: tuple[Policy, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    #: Only of providers that have any.
    secrets: Mapping[ProviderName, SecretReferences] = field(default_factory=dict)


def parse(texts: Mapping[str, str], known_providers: Collection[str] = ()) -> Declarations:
    """What the files (name → text) declare together; `known_providers` are in the catalogue already.

    Raises: ConfigurationError with every mistake in every file.
    """
    documents = [read(file, text) for file, text in texts.items()]
    shapes = [shape(document.values) for document in documents]
    mistakes = [*_within(documents, shapes), *name_mistakes(documents, known_providers)]
    if mistakes:
        raise ConfigurationError([str(mistake) for mistake in _in_order(mistakes, list(texts))])
    pairs = zip(documents, shapes, strict=True)
    return _joined([_part(document, file) for document, file in pairs if isinstance(file, WrittenFile)])


def _within(
    documents: Sequence[Document], shapes: Sequence[WrittenFile | list[tuple[Path, str]]]
) -> Iterator[Mistake]:
    for document, file in zip(documents, shapes, strict=True):
        yield from document.mistakes
        findings = [*(file if isinstance(file, list) else ()), *_rule_findings(document)]
        spoiled = {mistake.path for mistake in document.mistakes}
        for path, sentence in findings if not document.broken else ():
            if path not in spoiled:
                yield document.mistake(_as_written(document, path), sentence)


def _as_written(document: Document, path: Path) -> Path:
    """A path without the steps that only the schema knows, but with the name of a field that is missing."""
    written = document.written(path)
    missing = path[len(written) :]
    return path if len(missing) == 1 and isinstance(missing[0], str) and missing[0] != "[key]" else written


_RULES: Final = {
    "providers": provider_findings,
    "policies": policy_findings,
    "issuers": issuer_findings,
}


def _rule_findings(document: Document) -> Iterator[tuple[Path, str]]:
    for path, entry in entries(document):
        rules = _RULES.get(str(path[0]))
        if rules is not None and isinstance(entry, dict):
            yield from (((*path, *inner), sentence) for inner, sentence in rules(entry))


def _in_order(mistakes: Sequence[Mistake], files: Sequence[str]) -> list[Mistake]:
    return sorted(dict.fromkeys(mistakes), key=lambda mistake: (files.index(mistake.file), mistake.line))


def _joined(parts: Sequence[Declarations]) -> Declarations:
    return Declarations(
        providers=tuple(provider for part in parts for provider in part.providers),
        services=tuple(service for part in parts for service in part.services),
        agents=tuple(agent for part in parts for agent in part.agents),
        policies=tuple(policy for part in parts for policy in part.policies),
        issuers=tuple(issuer for part in parts for issuer in part.issuers),
        secrets={name: references for part in parts for name, references in part.secrets.items()},
    )


def _part(document: Document, file: WrittenFile) -> Declarations:
    secrets = {
        ProviderName(name): _references(document, name, written)
        for name, written in file.providers.items()
        if written.client_secret or written.private_key
    }
    return Declarations(
        providers=tuple(_provider(name, written) for name, written in file.providers.items()),
        services=tuple(
            Service(name=ServiceName(name), **_given(written)) for name, written in file.services.items()
        ),
        agents=tuple(Agent(name=AgentName(name), **_given(written)) for name, written in file.agents.items()),
        policies=tuple(_policy(written) for written in file.policies),
        issuers=tuple(_issuer(name, written) for name, written in file.issuers.items()),
        secrets=secrets,
    )


def _provider(name: str, written: WrittenProvider) -> Provider:
    given = _given(written, left_out=("client_secret", "private_key", "rotation", "answer_path"))
    provider = Provider(name=ProviderName(name), **given)
    if written.rotation is not None:
        provider = replace(provider, rotation=Rotation(**_given(written.rotation)))
    if written.answer_path is not None:
        provider = replace(provider, answer_path=AnswerPath(**_given(written.answer_path)))
    if written.client_auth is None:
        provider = replace(provider, client_auth=default_client_auth(provider.grant))
    return provider


def _policy(written: WrittenPolicy) -> Policy:
    given = _given(written)
    instants = {name: value.astimezone(UTC) for name, value in given.items() if isinstance(value, datetime)}
    return Policy(**(given | instants))


def _issuer(name: str, written: WrittenIssuer) -> Issuer:
    rules = tuple(
        IssuerRule(claims=rule.claims, agent=_named(AgentName, rule.agent), owner=_named(Owner, rule.owner))
        for rule in written.rules
    )
    return Issuer(name=IssuerName(name), rules=rules, **_given(written, left_out=("rules",)))


def _named(kind: Callable[[str], Name], written: str | WrittenClaim) -> Name | FromClaim:
    return FromClaim(claim=written.claim) if isinstance(written, WrittenClaim) else kind(written)


def _references(document: Document, name: str, written: WrittenProvider) -> SecretReferences:
    path, key = ("providers", name), written.private_key
    return SecretReferences(
        client_secrets=tuple(
            _reference(document, (*path, "client_secret", index), reference)
            for index, reference in enumerate(written.client_secret or ())
        ),
        private_key=None if key is None else _reference(document, (*path, "private_key"), key),
    )


def _reference(document: Document, path: Path, written: WrittenReference) -> SecretReference:
    place = str(document.mistake(document.written(path), "")).removesuffix(": ")
    return SecretReference(place=place, declared_in=document.file, env=written.env, file=written.file)


def _given(written: Written, *, left_out: Collection[str] = ()) -> dict[str, Any]:
    """What was written and is not null: everything else has its default from the noun."""
    fields = {name: getattr(written, name) for name in type(written).model_fields if name not in left_out}
    return {name: value for name, value in fields.items() if value is not None}
