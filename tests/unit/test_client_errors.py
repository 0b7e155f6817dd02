"""Every refusal of the protocol becomes an error of its own, with what helps."""

import pytest

import dispenser
from dispenser import InsufficientScope, RateLimited, ReauthorizationRequired, VaultError
from dispenser.client.errors import refusal
from dispenser.protocol import RETRYABLE, Code, Reply

REFUSALS = [code for code in Code if code is not Code.OK]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_has_its_code_and_is_retryable_where_the_protocol_says_so(code: Code) -> None:
    error = refusal(Reply(code=code, service="slack-post", reason="Because."))
    assert (error.code, error.retryable) == (code.value, code in RETRYABLE)
    assert str(error) == "slack-post: Because."
    assert type(error).__name__ in dispenser.__all__


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_without_a_reason_explains_itself(code: Code) -> None:
    assert len(str(refusal(Reply(code=code)))) > 20


def test_missing_consent_says_where_to_give_it() -> None:
    error = refusal(Reply(code=Code.REAUTH_REQUIRED, reason="Gone.", connect_url="https://vault/connect"))
    assert isinstance(error, ReauthorizationRequired)
    assert error.connect_url == "https://vault/connect"
    assert "https://vault" not in f"{error} {error!r}"


def test_missing_scopes_are_named() -> None:
    error = refusal(
        Reply(code=Code.INSUFFICIENT_SCOPE, missing_scopes=("a", "b"), connect_url="https://vault")
    )
    assert isinstance(error, InsufficientScope)
    assert (error.missing_scopes, error.connect_url) == (("a", "b"), "https://vault")


def test_a_limit_says_when_it_ends() -> None:
    error = refusal(Reply(code=Code.RATE_LIMITED, retry_after=3.0))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 3.0


def test_one_root_catches_them_all() -> None:
    errors = [
        getattr(dispenser, name) for name in dispenser.__all__ if name not in ("Vault", "Token", "ChildToken")
    ]
    assert all(issubclass(error, VaultError) for error in errors)
    codes = [error.code for error in errors]
    assert len(set(codes)) == len(codes)
