"""What people write is read whole, or refused with every mistake, its line, and never its value."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dispenser.declared import Declarations, SecretReference, SecretReferences, parse
from dispenser.declared_schema import (
    Written,
    WrittenAgent,
    WrittenAnswerPath,
    WrittenIssuer,
    WrittenIssuerRule,
    WrittenPolicy,
    WrittenProvider,
    WrittenRotation,
    WrittenService,
)
from shared.errors import ConfigurationError
from shared.model import (
    Agent,
    AnswerPath,
    ClientAuth,
    Effect,
    FromClaim,
    GrantKind,
    Issuer,
    IssuerRule,
    OnReuse,
    Policy,
    Provider,
    RefusalKind,
    Rotation,
    Service,
    SignatureAlgorithm,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
CANARY = "s3cr3t-canary-value"
WHOLE = """\
providers:
  tracker-co:
    authorization_url: https://id.tracker.example/authorize
    token_url: https://id.tracker.example/token
    client_id: tracker
    client_secret: {env: TT_CLIENT_SECRET}
    client_auth: basic
    rotation: {rotates: true, grace_seconds: 30, on_reuse: deny}
    redirect_uri: http://127.0.0.1:8765/callback
    insecure_local: false
services:
  time-tracker: {provider: tracker-co, scopes: [tasks:write], audience: null}
agents:
  tracker:
    {description: "logs tasks", proof: required, max_requests_per_second: 50, max_concurrency: 20}
  idle:
policies:
  - {name: trackers, effect: allow, agents: ["tracker*"], services: [time-tracker], owners: ["*"],
     scopes: [tasks:write], max_ttl_seconds: 3600, not_before: 2030-01-01T02:00:00+02:00}
issuers:
  cluster:
    issuer: https://cluster.example
    audience: token-dispenser
    jwks_url: https://cluster.example/keys
    algorithms: [ES256]
    rules:
      - {claims: {sub: "pod:*", live: true, tier: 1}, agent: tracker, owner: shared}
      - {claims: {sub: "*"}, agent: {claim: agent}, owner: {claim: email}}
"""
#: A provider that is right, on lines 1 to 6 of its file, for tables of what goes wrong below it.
RIGHT = """\
providers:
  p:
    token_url: https://p.example/token
    authorization_url: https://p.example/authorize
    client_id: c
    client_secret: {env: P_SECRET}
"""


def mistakes(text: str, *known: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse({"a.yaml": text}, known)
    return caught.value.mistakes


def provider(*lines: str) -> str:
    return "\n".join(["providers:", "  p:", *(f"    {line}" for line in lines)])


def test_every_field_reaches_its_noun() -> None:
    assert parse({"a.yaml": WHOLE}) == Declarations(
        providers=(
            Provider(
                name="tracker-co",
                authorization_url="https://id.tracker.example/authorize",
                token_url="https://id.tracker.example/token",
                client_id="tracker",
                rotation=Rotation(rotates=True, grace_seconds=30, on_reuse=OnReuse.DENY),
                redirect_uri="http://127.0.0.1:8765/callback",
            ),
        ),
        services=(Service(name="time-tracker", provider="tracker-co", scopes=("tasks:write",)),),
        agents=(
            Agent(
                name="tracker",
                description="logs tasks",
                proof="required",
                max_requests_per_second=50,
                max_concurrency=20,
            ),
            Agent(name="idle"),
        ),
        policies=(
            Policy(
                name="trackers",
                effect=Effect.ALLOW,
                agents=("tracker*",),
                services=("time-tracker",),
                owners=("*",),
                scopes=("tasks:write",),
                max_ttl_seconds=3600,
                not_before=datetime(2030, 1, 1, tzinfo=UTC),
            ),
        ),
        issuers=(
            Issuer(
                name="cluster",
                issuer="https://cluster.example",
                audience="token-dispenser",
                jwks_url="https://cluster.example/keys",
                algorithms=(SignatureAlgorithm.ES256,),
                rules=(
                    IssuerRule(
                        claims={"sub": "pod:*", "live": True, "tier": 1}, agent="tracker", owner="shared"
                    ),
                    IssuerRule(
                        claims={"sub": "*"}, agent=FromClaim(claim="agent"), owner=FromClaim(claim="email")
                    ),
                ),
            ),
        ),
        secrets={
            "tracker-co": SecretReferences(
                client_secrets=(
                    SecretReference(
                        place="a.yaml:6: providers.tracker-co.client_secret",
                        declared_in="a.yaml",
                        env="TT_CLIENT_SECRET",
                    ),
                )
            )
        },
    )


@pytest.mark.parametrize(
    ("noun", "written", "otherwise"),
    [
        (Provider, WrittenProvider, {"name"}),
        (Service, WrittenService, {"name"}),
        (Agent, WrittenAgent, {"name", "revoked_at"}),
        (Policy, WrittenPolicy, set()),
        (Rotation, WrittenRotation, set()),
        (AnswerPath, WrittenAnswerPath, set()),
        (Issuer, WrittenIssuer, {"name"}),
        (IssuerRule, WrittenIssuerRule, set()),
    ],
)
def test_every_field_of_a_noun_can_be_written(
    noun: type, written: type[Written], otherwise: set[str]
) -> None:
    fields = {field.name for field in dataclasses.fields(noun)}
    assert fields - otherwise <= set(written.model_fields)


def test_a_providers_oddities_reach_its_profile() -> None:
    text = RIGHT + (
        "    answer_path: {exchange: authed_user}\n"
        "    errors: {AADSTS50173: dead, http_418: transient}\n"
        "    max_expires_in_seconds: 600\n"
        "    refresh_token_idle_seconds: 5184000\n"
        "    refresh_token_life_seconds: 604800\n"
        "    max_requests_per_second: 5\n"
    )
    (found,) = parse({"a.yaml": text}).providers
    assert found.answer_path == AnswerPath(exchange="authed_user", refresh="")
    assert found.errors == {"AADSTS50173": RefusalKind.DEAD, "http_418": RefusalKind.TRANSIENT}
    assert (found.max_expires_in_seconds, found.max_requests_per_second) == (600, 5)
    assert (found.refresh_token_idle_seconds, found.refresh_token_life_seconds) == (5184000, 604800)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("answer_path: {exchang: x}", "answer_path.exchang: unknown field; did you mean exchange?"),
        (
            "answer_path: {refresh: a b}",
            "answer_path.refresh: names of members, as in authed_user or data.token",
        ),
        (
            "errors: {gone: deadly}",
            "errors.gone: one of dead, client_config, rate_limited, transient, ambiguous; did you mean dead?",
        ),
    ],
)
def test_a_wrong_oddity_is_told_with_its_place(line: str, mistake: str) -> None:
    assert mistakes(f"{RIGHT}    {line}\n") == (f"a.yaml:7: providers.p.{mistake}",)


def test_instants_are_kept_in_utc() -> None:
    (policy,) = parse({"a.yaml": WHOLE}).policies
    assert policy.not_before is not None
    assert policy.not_before.tzinfo is UTC


def test_what_is_left_out_or_null_has_the_default_of_its_noun() -> None:
    text = RIGHT + "    client_auth: null\n    rotation: null\n"
    assert parse({"a.yaml": text}).providers == (
        Provider(
            name="p",
            client_id="c",
            token_url="https://p.example/token",
            authorization_url="https://p.example/authorize",
        ),
    )


def test_several_secrets_stay_in_their_order() -> None:
    text = RIGHT.replace("{env: P_SECRET}", "[{env: NEW}, {file: old.txt}]")
    (first, second) = parse({"a.yaml": text}).secrets["p"].client_secrets
    assert (first.env, second.file) == ("NEW", "old.txt")
    assert second.place == "a.yaml:6: providers.p.client_secret[1]"


def test_a_service_account_needs_no_client_authentication() -> None:
    text = provider(
        "grant: jwt_bearer",
        "token_url: https://p.example/token",
        "private_key: {file: key.pem}",
        "assertion_issuer: robot",
    )
    (found,) = parse({"a.yaml": text}).providers
    assert (found.grant, found.client_auth) == (GrantKind.JWT_BEARER, ClientAuth.NONE)


def test_nothing_declares_nothing() -> None:
    assert parse({"a.yaml": "", "b.yaml": "# later\n", "c.yaml": "agents:\n"}) == Declarations()


def test_files_are_read_together() -> None:
    found = parse({"a.yaml": "services: {s: {provider: p}}", "b.yaml": RIGHT})
    assert [service.name for service in found.services] == ["s"]
    assert list(found.secrets) == ["p"]


def test_a_provider_of_the_catalogue_may_be_named() -> None:
    assert parse({"a.yaml": "services: {s: {provider: p}}"}, ["p"]).services[0].provider == "p"


def test_a_mistake_in_an_issuer_is_told_where_it_is() -> None:
    text = """\
issuers:
  c:
    isuer: https://c.example
    audience: 7
    algorithms: [none, HS256]
    keys: [{kty: oct, k: c2VjcmV0}]
    jwks_url: http://c.example/jwks
    rules:
      - {claims: {}, agent: [a], owner: {clam: x}}
      - {claims: {a: [1]}, agent: x.y, ownr: 1}
  d:
    issuer: https://127.0.0.1
    audience: b
    keys: [{kty: RSA, d: c2VjcmV0}]
    rules: []
"""
    found = mistakes(text)
    choice = "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519"
    named = "expected a name, or {claim: NAME} for what the token says"
    address = "must be https:// and a host; http, on loopback alone, needs insecure_local: true"
    assert found == (
        "a.yaml:2: issuers.c.issuer: required",
        "a.yaml:3: issuers.c.isuer: unknown field; did you mean issuer?",
        (
            "a.yaml:4: issuers.c.audience: expected a text; "
            "a number, a date or a word such as yes needs quotes"
        ),
        f"a.yaml:5: issuers.c.algorithms[0]: {choice}",
        f"a.yaml:5: issuers.c.algorithms[1]: {choice}; did you mean RS256?",
        "a.yaml:6: issuers.c.keys: expected public keys of kty RSA, EC or OKP (RFC 7517)",
        "a.yaml:6: issuers.c.keys: given beside jwks_url: one of the two says which keys count",
        f"a.yaml:7: issuers.c.jwks_url: {address}",
        "a.yaml:9: issuers.c.rules[0].claims: must not be empty",
        f"a.yaml:9: issuers.c.rules[0].agent: {named}",
        f"a.yaml:9: issuers.c.rules[0].owner: {named}",
        "a.yaml:10: issuers.c.rules[1].claims: a claim is matched with a text, a whole number, true or false",
        "a.yaml:10: issuers.c.rules[1].agent: an agent's name has letters, digits, '_' and '-' only",
        "a.yaml:10: issuers.c.rules[1].owner: required",
        "a.yaml:10: issuers.c.rules[1].ownr: unknown field; did you mean owner?",
        f"a.yaml:12: issuers.d.issuer: {address}",
        "a.yaml:14: issuers.d.keys: this is a private key, which belongs to its issuer alone",
        "a.yaml:15: issuers.d.rules: must not be empty",
    )


def test_every_mistake_is_reported_at_once_in_the_order_of_the_lines() -> None:
    text = """\
providers:
  tracker-co:
    token_ur: https://id.example/token
    client_id: 12
    client_auth: basci
    rotation: {rotats: true, grace_seconds: -1}
services:
  a: {provider: tracker-c, scopes: a b}
agents:
  x.y: {descripton: dots, proof: requird}
policies:
  - {name: p, effect: allw, agents: [], max_ttl_seconds: 1.5}
polices: []
"""
    assert mistakes(text) == (
        "a.yaml:2: providers.tracker-co.token_url: required, or an issuer that publishes it (RFC 8414)",
        (
            "a.yaml:2: providers.tracker-co.authorization_url: required for the grant authorization_code, "
            "or an issuer that publishes it (RFC 8414)"
        ),
        "a.yaml:3: providers.tracker-co.token_ur: unknown field; did you mean token_url?",
        (
            "a.yaml:4: providers.tracker-co.client_id: expected a text; "
            "a number, a date or a word such as yes needs quotes"
        ),
        (
            "a.yaml:5: providers.tracker-co.client_auth: one of basic, body, private_key_jwt, none; "
            "did you mean basic?"
        ),
        "a.yaml:6: providers.tracker-co.rotation.grace_seconds: must be at least 0",
        "a.yaml:6: providers.tracker-co.rotation.rotats: unknown field; did you mean rotates?",
        "a.yaml:8: services.a.scopes: expected a list, as in [one, two]",
        (
            "a.yaml:8: services.a.provider: no provider of this name, neither in these files nor in the "
            "catalogue; did you mean tracker-co?"
        ),
        "a.yaml:10: agents.x.y: an agent's name has letters, digits, '_' and '-' only",
        "a.yaml:10: agents.x.y.proof: one of optional, required; did you mean required?",
        "a.yaml:10: agents.x.y.descripton: unknown field; did you mean description?",
        "a.yaml:12: policies[0].effect: one of allow, deny; did you mean allow?",
        "a.yaml:12: policies[0].agents: must not be empty",
        "a.yaml:12: policies[0].services: required",
        "a.yaml:12: policies[0].max_ttl_seconds: expected a whole number",
        "a.yaml:13: polices: unknown field; did you mean policies?",
    )


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("agents:\n  a: {\n", 3, "expected the node content"),
        ("agents:\n\ta: {}\n", 2, "cannot start any token"),
        ("agents: {}\n---\nagents: {}\n", 2, "another document"),
        ("agents:\n  a: &x {}\n  b: *x\n", 3, "no alias (*) is read here"),
        ("agents: {}\n\n# \x00\n", 3, "a character that no text has"),
    ],
)
def test_text_that_is_no_yaml_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    (mistake,) = mistakes(text)
    assert mistake.startswith(f"a.yaml:{line}: not YAML: ")
    assert problem in mistake


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- agents\n", "a.yaml:1: expected a map of fields"),
        ("agents: [a]\n", "a.yaml:1: agents: expected a map of names"),
        ("agents:\n  a: b\n", "a.yaml:2: agents.a: expected a map of fields"),
        ("agents:\n  ? [a]\n  : {}\n", "a.yaml:2: agents: a name is a text, not a list or a map"),
        (
            "agents:\n  a: {description: !!int x}\n",
            "a.yaml:2: agents.a.description: not a value that is read",
        ),
        ("policies: {a: b}\n", "a.yaml:1: policies: expected a list"),
        ("agents:\n  a:\n  b:\n  a:\n", "a.yaml:4: agents.a: given twice, first on line 2"),
    ],
)
def test_values_of_a_wrong_kind_are_refused(text: str, expected: str) -> None:
    (mistake,) = mistakes(text)
    assert mistake.startswith(expected)


def test_a_name_may_be_declared_once_over_all_files() -> None:
    policy = "policies: [{name: n, effect: deny, agents: ['*'], services: ['*']}]\n"
    with pytest.raises(ConfigurationError) as caught:
        parse({"a.yaml": "agents:\n  x:\n", "b.yaml": policy, "c.yaml": "agents: {x: }\n" + policy})
    assert caught.value.mistakes == (
        "c.yaml:1: agents.x: declared twice under one name, first at a.yaml:2",
        "c.yaml:2: policies[0]: declared twice under one name, first at b.yaml:1",
    )


def test_a_broken_file_hides_no_mistake_of_another_and_adds_none() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"a.yaml": "providers: {p: {", "b.yaml": "services: {s: {provider: p, scope: []}}"})
    broken, unknown = caught.value.mistakes
    assert broken.startswith("a.yaml:1: not YAML: ")
    assert unknown == "b.yaml:1: services.s.scope: unknown field; did you mean scopes?"


@pytest.mark.parametrize(
    ("lines", "field", "sentence"),
    [
        (["client_auth: none"], "client_secret", "client_auth none sends none"),
        (["client_auth: private_key_jwt"], "private_key", "required for client_auth private_key_jwt"),
        (["client_auth: private_key_jwt"], "client_secret", "client_auth private_key_jwt sends none"),
        (
            ["private_key: {file: k}"],
            "private_key",
            "only client_auth private_key_jwt and the grant jwt_bearer",
        ),
        (["grant: client_credentials", "client_auth: none"], "client_auth", "for clients that authenticate"),
        (["grant: jwt_bearer", "private_key: {file: k}"], "assertion_issuer", "required with a private_key"),
        (["grant: implicit"], "grant", "one of authorization_code, client_credentials, jwt_bearer, static"),
        (["revocation_url: http://p.example/revoke"], "revocation_url", "must be https://"),
        (["revocation_url: https://127.0.0.1/revoke"], "revocation_url", "loopback alone"),
        (["revocation_url: https://u:p@p.example/"], "revocation_url", "must be https://"),
        (["revocation_url: https://p.example/#x"], "revocation_url", "must be https://"),
        (["revocation_url: https://p.example:99999/"], "revocation_url", "must be https://"),
        (["revocation_url: 'https:///revoke'"], "revocation_url", "must be https://"),
        (["insecure_local: true", "revocation_url: http://p.example/"], "revocation_url", "must be https://"),
        (["issuer: https://p.example?x=1"], "issuer", "an issuer has no query"),
        (["redirect_uri: http://p.example/callback"], "redirect_uri", "or http:// on loopback"),
        (["redirect_uri: app:/callback"], "redirect_uri", "or http:// on loopback"),
        (["authorization_params: {state: x}"], "authorization_params.state", "the vault sets this parameter"),
        (["token_params: {client_secret: x}"], "token_params.client_secret", "the vault sets this parameter"),
        (["authorization_params: {v: 2}"], "authorization_params.v", "expected a text"),
        (["max_concurrency: 0"], "max_concurrency", "must be at least 1"),
        (["scope_on_refresh: sometimes"], "scope_on_refresh", "expected true or false"),
        (["scope_separator: ''"], "scope_separator", "must not be empty"),
        (["client_id: d"], "client_id", "given twice, first on line 5"),
    ],
)
def test_what_does_not_fit_together_in_a_provider_is_refused(
    lines: list[str], field: str, sentence: str
) -> None:
    found = mistakes(RIGHT + "".join(f"    {line}\n" for line in lines))
    assert any(f": providers.p.{field}: " in mistake and sentence in mistake for mistake in found), found


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (["grant: authorization_code"], {"token_url", "authorization_url", "client_id", "client_secret"}),
        (["issuer: https://p.example"], {"client_id", "client_secret"}),
        (["client_auth: none"], {"token_url", "authorization_url", "client_id"}),
        (["grant: client_credentials"], {"token_url", "client_id", "client_secret"}),
        (["grant: jwt_bearer"], {"token_url"}),
    ],
)
def test_each_grant_asks_for_what_it_needs(lines: list[str], missing: set[str]) -> None:
    found = mistakes(provider(*lines))
    assert {mistake.split(": ")[1].removeprefix("providers.p.") for mistake in found} == missing


def test_a_static_token_needs_no_address_and_no_client() -> None:
    (found,) = parse({"a.yaml": provider("grant: static")}).providers
    assert (found.grant, found.token_url, found.client_auth) == (GrantKind.STATIC, "", ClientAuth.NONE)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "127.9.9.9"])
def test_http_on_loopback_is_for_development(host: str) -> None:
    text = RIGHT.replace("https://p.example", f"http://{host}")
    assert len(mistakes(text)) == 2
    assert parse({"a.yaml": text + "    insecure_local: true\n"}).providers[0].insecure_local


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("not_before: 2030-01-01", "not_before: expected a time with its zone"),
        ("not_before: 2030-01-01T00:00:00", "not_before: expected a time with its zone"),
        (
            "not_before: '2030-01-01T00:00:00Z'",
            "not_before: expected a time with its zone and without quotes",
        ),
        (
            "not_before: 2030-01-02T00:00:00Z, expires_at: 2030-01-01T00:00:00Z",
            "expires_at: must be later than not_before",
        ),
        ("max_ttl_seconds: 0", "max_ttl_seconds: must be at least 1"),
        ("scopes: ['a b']", "scopes[0]: one scope without spaces or quotes"),
        ("owners: []", "owners: must not be empty"),
    ],
)
def test_a_policy_is_checked(line: str, expected: str) -> None:
    text = f"policies:\n  - {{name: n, effect: allow, agents: ['*'], services: ['*'], {line}}}\n"
    (mistake,) = mistakes(text)
    assert mistake.startswith(f"a.yaml:2: policies[0].{expected}")


@pytest.mark.parametrize(
    "written",
    [
        f"client_secret: {CANARY}",
        f"client_secret: [{CANARY}, {{env: {CANARY}}}]",
        f"client_secret: {{{CANARY}: env}}",
        f"client_secret: {{env: {CANARY}}}",
        f"client_secret: {{value: {CANARY}}}",
        f"client_secret: {{env: A, file: {CANARY}}}",
        f"client_secret: {{env: [{CANARY}]}}",
        f"client_secret: *{CANARY}",
        f"client_secret: !{CANARY}",
        f"client_secret: !{CANARY}!x",
        f"client_secret: '{CANARY}",
        f"client_secret: !!int {CANARY}",
        f"private_key: |\n      -----BEGIN PRIVATE KEY-----\n      {CANARY}",
        f'private_key: {{file: "{CANARY}\\n"}}',
        f"client_secret: {{env: }}\n    token_url: http://u:{CANARY}@p.example",
        f"client_id: [{CANARY}]",
        f"client_auth: {CANARY}",
        f"secret: {CANARY}",
        f"token_params: {{client_secret: {CANARY}}}",
        f"token_params: {{api_key: [{CANARY}]}}",
    ],
)
def test_no_message_repeats_a_value(written: str) -> None:
    found = mistakes(provider(written))
    assert found
    assert CANARY not in "\n".join(found)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("{env: }", "a secret is not written here"),
        ("{env: A, file: b}", "a secret is not written here"),
        ("{env: lower-case}", "the name of an environment variable, in capitals; not the secret itself"),
        ('{file: "two\\nlines"}', "the path of a file; not the secret itself"),
        ("[]", "must not be empty"),
        ("!key abc", "not a value that is read here: put it in quotes"),
    ],
)
def test_a_reference_is_a_name_or_a_path(written: str, sentence: str) -> None:
    (mistake,) = mistakes(RIGHT.replace("{env: P_SECRET}", written))
    assert mistake.startswith("a.yaml:6: providers.p.client_secret")
    assert sentence in mistake


def test_a_literal_secret_is_refused_with_what_to_do_instead() -> None:
    (mistake,) = mistakes(RIGHT.replace("{env: P_SECRET}", CANARY))
    assert mistake == (
        "a.yaml:6: providers.p.client_secret: a secret is not written here: put it into the environment or "
        "a file and name it here, as {env: NAME} or {file: path}"
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_can_be_applied(path: Path) -> None:
    found = parse({str(path): path.read_text("utf-8")})
    assert found.providers
    assert {service.provider for service in found.services} == {provider.name for provider in found.providers}
