"""What people may write in a declared file, field by field, and what to say of a field that is wrong.

A field that is left out, or null, takes the default of its noun in `shared.model`. Sentences never repeat a
value: it may be a secret in the wrong place.
"""

import re
from collections.abc import Iterable, Mapping, Sized
from difflib import get_close_matches
from typing import Annotated, Final, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from dispenser.declared_document import Path
from shared.model import (
    BodyFormat,
    ClientAuth,
    Effect,
    ExpiryUnit,
    GrantKind,
    OnReuse,
    Proof,
    RefusalKind,
    SignatureAlgorithm,
)

_PUBLIC: Final = ("RSA", "EC", "OKP")
#: RFC 7518 §6: members of private keys.
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_LITERAL: Final = (
    "a secret is not written here: put it into the environment or a file and name it here, "
    "as {env: NAME} or {file: path}"
)

Item = TypeVar("Item")
Some = TypeVar("Some", bound=Sized)


def _matching(pattern: str, sentence: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: Item) -> Item:
        if isinstance(text, str) and compiled.fullmatch(text) is None:
            raise PydanticCustomError("pattern", "{sentence}", {"sentence": sentence})
        return text

    return AfterValidator(check)


def _named(value: object) -> object:
    if isinstance(value, dict) and list(value) in (["env"], ["file"]) and None not in value.values():
        return value
    raise PydanticCustomError("literal_secret", "{sentence}", {"sentence": _LITERAL})


def _some(values: Some) -> Some:
    if not values:
        raise PydanticCustomError("empty", "must not be empty")
    return values


def _as_list(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


def _as_map(value: object) -> object:
    return {} if value is None else value


def _patterns(value: object) -> object:
    if not isinstance(value, dict) or all(isinstance(item, str | bool | int) for item in value.values()):
        return value
    raise PydanticCustomError("patterns", "a claim is matched with a text, a whole number, true or false")


def _public_keys(value: object) -> object:
    for key in value if isinstance(value, list) else ():
        if not isinstance(key, dict) or key.get("kty") not in _PUBLIC:
            raise PydanticCustomError("keys", "expected public keys of kty RSA, EC or OKP (RFC 7517)")
        if not key.keys().isdisjoint(_PRIVATE):
            raise PydanticCustomError("keys", "this is a private key, which belongs to its issuer alone")
    return value


Text = Annotated[str, StringConstraints(strict=True, min_length=1)]
Count = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[int, Strict(), Field(ge=1)]
Flag = Annotated[bool, Strict()]
Instant = Annotated[AwareDatetime, Strict()]
Name = Annotated[Text, _matching(r"[A-Za-z0-9._-]+", "a name has letters, digits, '.', '_' and '-' only")]
#: An agent's name is one word of a routing key, so it has no dots.
_agent_word: Final = _matching(r"[A-Za-z0-9_-]+", "an agent's name has letters, digits, '_' and '-' only")
AgentWord = Annotated[Text, _agent_word]
#: RFC 6749 §3.3, scope-token.
Scope = Annotated[
    Text, _matching(r"[!#-\[\]-~]+", "one scope without spaces or quotes; give several as a list")
]
Variable = Annotated[
    Text,
    _matching(r"[A-Z_][A-Z0-9_]*", "the name of an environment variable, in capitals; not the secret itself"),
]
FilePath = Annotated[Text, _matching(r"[^\x00-\x1f]+", "the path of a file; not the secret itself")]
Texts = Annotated[tuple[Text, ...], AfterValidator(_some)]
MemberPath = Annotated[
    str,
    Strict(),
    _matching(r"|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,3}", "names of members, as in authed_user or data.token"),
]
ErrorCode = Annotated[
    Text, _matching(r"[A-Za-z0-9_.-]{1,64}", "an error's code: letters, digits, '_', '.', '-'")
]


class Written(BaseModel):
    """Something a person wrote. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WrittenReference(Written):
    """Where a secret lies: one of the two."""

    env: Variable | None = None
    file: FilePath | None = None


Reference = Annotated[WrittenReference, BeforeValidator(_named)]
References = Annotated[tuple[Reference, ...], AfterValidator(_some)]


class WrittenRotation(Written):
    """`shared.model.Rotation`."""

    rotates: Flag | None = None
    grace_seconds: Count | None = None
    on_reuse: OnReuse | None = None


class WrittenAnswerPath(Written):
    """`shared.model.AnswerPath`."""

    exchange: MemberPath | None = None
    refresh: MemberPath | None = None


class WrittenProvider(Written):
    """`shared.model.Provider`, and where its secrets lie."""

    client_id: Text | None = None
    client_secret: Annotated[References | None, BeforeValidator(_as_list)] = None
    private_key: Reference | None = None
    token_url: Text | None = None
    authorization_url: Text | None = None
    revocation_url: Text | None = None
    issuer: Text | None = None
    issuer_in_callback: Flag | None = None
    grant: GrantKind | None = None
    client_auth: ClientAuth | None = None
    rotation: WrittenRotation | None = None
    redirect_uri: Text | None = None
    insecure_local: Flag | None = None
    scope_separator: Text | None = None
    authorization_params: dict[Text, Text] | None = None
    token_params: dict[Text, Text] | None = None
    body_format: BodyFormat | None = None
    scope_on_refresh: Flag | None = None
    expires_in_unit: ExpiryUnit | None = None
    default_expires_in_seconds: Positive | None = None
    max_expires_in_seconds: Positive | None = None
    answer_path: WrittenAnswerPath | None = None
    errors: dict[ErrorCode, RefusalKind] | None = None
    refresh_token_idle_seconds: Positive | None = None
    refresh_token_life_seconds: Positive | None = None
    max_concurrency: Positive | None = None
    max_requests_per_second: Positive | None = None
    assertion_issuer: Text | None = None
    assertion_subject: Text | None = None
    assertion_audience: Text | None = None
    assertion_key_id: Text | None = None


class WrittenService(Written):
    """`shared.model.Service`."""

    provider: Name
    scopes: tuple[Scope, ...] | None = None
    audience: Text | None = None


class WrittenAgent(Written):
    """`shared.model.Agent`."""

    description: Annotated[str, Strict()] | None = None
    proof: Proof | None = None
    max_requests_per_second: Positive | None = None
    max_concurrency: Positive | None = None


class WrittenPolicy(Written):
    """`shared.model.Policy`. Agents and services have to be spelled out: a line forgotten allows nothing."""

    name: Name
    effect: Effect
    agents: Texts
    services: Texts
    owners: Texts | None = None
    scopes: tuple[Scope, ...] | None = None
    max_ttl_seconds: Positive | None = None
    not_before: Instant | None = None
    expires_at: Instant | None = None


class WrittenClaim(Written):
    """`shared.model.FromClaim`."""

    claim: Text


def _named_or_claimed(value: object) -> object:
    match value:
        case str() if value:
            return value
        case {"claim": str(name), **more} if name and not more:
            return WrittenClaim(claim=name)
    raise PydanticCustomError("named", "expected a name, or {claim: NAME} for what the token says")


class WrittenIssuerRule(Written):
    """`shared.model.IssuerRule`. A rule without claims would let everybody in."""

    claims: Annotated[dict[Text, str | bool | int], AfterValidator(_some), BeforeValidator(_patterns)]
    agent: Annotated[str | WrittenClaim, BeforeValidator(_named_or_claimed), _agent_word]
    owner: Annotated[str | WrittenClaim, BeforeValidator(_named_or_claimed)]


class WrittenIssuer(Written):
    """`shared.model.Issuer`."""

    issuer: Text
    audience: Text
    rules: Annotated[tuple[WrittenIssuerRule, ...], AfterValidator(_some)]
    jwks_url: Text | None = None
    keys: Annotated[tuple[dict[str, object], ...] | None, BeforeValidator(_public_keys)] = None
    algorithms: Annotated[tuple[SignatureAlgorithm, ...], AfterValidator(_some)] | None = None
    insecure_local: Flag | None = None


class WrittenFile(Written):
    """One file."""

    providers: Annotated[dict[Name, WrittenProvider], BeforeValidator(_as_map)] = {}
    services: Annotated[dict[Name, WrittenService], BeforeValidator(_as_map)] = {}
    agents: Annotated[
        dict[AgentWord, Annotated[WrittenAgent, BeforeValidator(_as_map)]], BeforeValidator(_as_map)
    ] = {}
    issuers: Annotated[dict[Name, WrittenIssuer], BeforeValidator(_as_map)] = {}
    policies: Annotated[tuple[WrittenPolicy, ...], BeforeValidator(lambda v: [] if v is None else v)] = ()


_ENTRIES: Final[Mapping[str, type[Written]]] = {
    "providers": WrittenProvider,
    "services": WrittenService,
    "agents": WrittenAgent,
    "policies": WrittenPolicy,
    "issuers": WrittenIssuer,
}
_NESTED: Final[Mapping[str, type[Written]]] = {
    "rotation": WrittenRotation,
    "answer_path": WrittenAnswerPath,
    "rules": WrittenIssuerRule,
}
_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "required",
    "string_type": "expected a text; a number, a date or a word such as yes needs quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "expected a list, as in [one, two]",
    "list_type": "expected a list, as in [one, two]",
    "dict_type": "expected a map of names",
    "model_type": "expected a map of fields",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
}
_INSTANT: Final = "expected a time with its zone and without quotes, such as 2030-12-31T00:00:00Z"


def shape(values: object) -> WrittenFile | list[tuple[Path, str]]:
    """The file, or every field that is wrong with what to say of it."""
    try:
        return WrittenFile.model_validate({} if values is None else values)
    except ValidationError as error:
        return [_finding(details) for details in error.errors(include_url=False)]


def did_you_mean(text: object, known: Iterable[str]) -> str:
    """`; did you mean …?` where one of the known names is near, else nothing."""
    near = get_close_matches(text, list(known), n=1) if isinstance(text, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def _finding(details: ErrorDetails) -> tuple[Path, str]:
    path = details["loc"]
    if details["type"] == "extra_forbidden":
        return path, f"unknown field{did_you_mean(path[-1], _fields(path))}"
    if details["type"] == "enum":
        return path, _choice(details)
    if details["type"].startswith(("datetime", "timezone")):
        return path, _INSTANT
    if details["type"] == "greater_than_equal":
        return path, f"must be at least {details['ctx']['ge']}"
    return path, _SENTENCES.get(details["type"], details["msg"])


def _choice(details: ErrorDetails) -> str:
    expected = details["ctx"]["expected"].replace("'", "")
    options = tuple(expected.replace(" or ", ", ").split(", "))
    return f"one of {', '.join(options)}{did_you_mean(details['input'], options)}"


def _fields(path: Path) -> Mapping[str, object]:
    if len(path) == 1:
        return WrittenFile.model_fields
    for field, written in _NESTED.items():
        if field in path[2:-1]:
            return written.model_fields
    return _ENTRIES[str(path[0])].model_fields
