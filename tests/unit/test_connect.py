"""The two ends of an owner's consent: what is asked of the provider, and which answers count."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from builders import a_provider, a_service

from dispenser.connect import ENTROPY_BYTES, Callback, CallbackRefused, begin, finish, is_loopback
from shared.secret import Secret

ENTROPY = bytes(range(ENTROPY_BYTES))
ISSUER = "https://id.example"
REDIRECT = "http://127.0.0.1:8765/callback"


def asked(provider: Any = None, **service: Any) -> dict[str, str]:
    begun = begin(provider or a_provider(), a_service(**service), redirect_uri=REDIRECT, entropy=ENTROPY)
    return {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}


def test_the_request_is_what_rfc_6749_and_7636_ask_for() -> None:
    begun = begin(a_provider(), a_service(), redirect_uri=REDIRECT, entropy=ENTROPY)
    challenge = (
        base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.reveal().encode()).digest())
        .rstrip(b"=")
        .decode()
    )
    assert begun.url.startswith("https://id.example/authorize?")
    assert asked() == {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": REDIRECT,
        "state": begun.state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "scope": "tasks:write",
    }
    assert begun.state != begun.verifier.reveal()
    assert 43 <= len(begun.verifier.reveal()) <= 128  # RFC 7636 §4.1


def test_scopes_audience_and_more_parameters_go_along() -> None:
    provider = a_provider(scope_separator=",", authorization_params={"access_type": "offline", "state": "x"})
    query = asked(provider, scopes=("a", "b"), audience="https://api.example")
    assert (query["scope"], query["resource"], query["access_type"]) == (
        "a,b",
        "https://api.example",
        "offline",
    )
    assert query["state"] != "x"


def test_neither_secret_shows_in_a_repr() -> None:
    begun = begin(a_provider(), a_service(), redirect_uri=REDIRECT, entropy=ENTROPY)
    assert begun.state not in repr(begun)
    assert begun.verifier.reveal() not in repr(begun)


def test_too_little_entropy_begins_nothing() -> None:
    with pytest.raises(ValueError, match="random"):
        begin(a_provider(), a_service(), redirect_uri=REDIRECT, entropy=ENTROPY[:-1])


STRICT = {"issuer": ISSUER, "issuer_in_callback": True}


@pytest.mark.parametrize(
    ("provider", "parameters", "error"),
    [
        ({}, {"code": "c"}, None),
        ({}, {"code": "c", "iss": ISSUER}, None),
        ({"issuer": ISSUER}, {"code": "c"}, None),
        (STRICT, {"code": "c", "iss": ISSUER}, None),
        (STRICT, {"code": "c"}, "issuer_missing"),
        (STRICT, {"error": "access_denied"}, "issuer_missing"),
        (STRICT, {"code": "c", "iss": ISSUER + "/"}, "issuer_mismatch"),
        ({"issuer": ISSUER}, {"code": "c", "iss": "https://evil.example"}, "issuer_mismatch"),
        ({}, {"code": "c", "iss": "https://evil.example"}, "issuer_mismatch"),
        ({}, {"error": "access_denied", "iss": "https://evil.example"}, "issuer_mismatch"),
        ({}, {"error": "access_denied"}, "access_denied"),
        ({}, {"error": "<script>"}, "unknown_error"),
        ({}, {"code": ""}, "invalid_callback"),
        ({}, {}, "invalid_callback"),
        ({}, {"code": "c" * 5000}, "invalid_callback"),
    ],
)
def test_an_answer_counts_only_from_the_server_that_was_asked(
    provider: dict[str, Any], parameters: dict[str, str], error: str | None
) -> None:
    outcome = finish(a_provider(**provider), "s", {"state": "s"} | parameters)
    if error is None:
        assert outcome == Callback(code=Secret("c"))
    else:
        assert isinstance(outcome, CallbackRefused)
        assert (outcome.error, "script" in outcome.description) == (error, False)


@pytest.mark.parametrize("state", ["", "t", "S", "s "])
def test_an_answer_to_another_consent_is_refused_first(state: str) -> None:
    outcome = finish(a_provider(), "s", {"state": state, "error": "access_denied"})
    assert isinstance(outcome, CallbackRefused)
    assert outcome.error == "invalid_state"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("http://127.0.0.1:8765/callback", True),
        ("http://localhost/callback", True),
        ("http://[::1]:1/callback", True),
        ("http://127.0.0.1.evil.example/callback", False),
        ("https://vault.example/callback", False),
        ("http://127.0.0.1@evil.example/", False),
    ],
)
def test_loopback_is_this_machine_alone(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
