"""What the HTTP door says means the same as what the AMQP door says."""

from typing import Any

import pytest

from dispenser.client import http_reply
from dispenser.protocol import Code, Reply


def reply(status: int, document: object = None, *, retry_after: str | None = None) -> Reply:
    return http_reply.reply(status, document, retry_after=retry_after, service="slack-post")


def test_a_granted_token_is_read_whole() -> None:
    document = {
        "access_token": "t",
        "token_type": "Bearer",
        "expires_in": 60,
        "expires_at": "1970-01-01T00:01:40Z",
        "scope": "a b",
        "service": "slack-post",
        "generation": 3,
    }
    assert reply(200, document) == Reply(
        code=Code.OK,
        service="slack-post",
        access_token="t",
        token_type="Bearer",
        expires_in=60.0,
        expires_at=100.0,
        scopes=("a", "b"),
        generation=3,
    )


def test_a_token_without_expiry_has_nulls() -> None:
    found = reply(200, {"access_token": "t", "expires_in": None, "expires_at": None})
    assert (found.expires_in, found.expires_at) == (None, None)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_a_problems_code_counts_and_not_its_status(code: Code) -> None:
    document = {
        "code": code.value,
        "detail": "Because.",
        "connect_url": "https://vault",
        "missing_scopes": ["a"],
        "retry_after": 2,
    }
    assert reply(418, document) == Reply(
        code=code,
        service="slack-post",
        reason="Because.",
        connect_url="https://vault",
        missing_scopes=("a",),
        retry_after=2.0,
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INVALID_REQUEST),
        (401, Code.UNAUTHENTICATED),
        (403, Code.DENIED),
        (429, Code.RATE_LIMITED),
        (503, Code.OVERLOADED),
        (504, Code.DEADLINE_EXCEEDED),
    ],
)
def test_a_proxys_page_is_told_by_its_status(status: int, code: Code) -> None:
    assert reply(status, retry_after="7") == Reply(code=code, service="slack-post", retry_after=7.0)


def test_an_error_of_the_token_endpoint_is_told_by_its_description() -> None:
    found = reply(400, {"error": "invalid_grant", "error_description": "The vault token was revoked."})
    assert (found.code, found.reason) == (Code.INVALID_REQUEST, "The vault token was revoked.")


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "", "²"])
def test_a_retry_after_that_is_no_number_of_seconds_is_passed_over(retry_after: str) -> None:
    assert reply(503, retry_after=retry_after).retry_after is None


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (302, None),
        (500, {"code": "ok"}),
        (200, {"access_token": 1}),
        (200, {"access_token": "t", "expires_in": "60"}),
        (200, {"access_token": "t", "expires_in": True}),
        (200, {"access_token": "t", "expires_at": "tomorrow"}),
        (403, {"code": "denied", "missing_scopes": "a b"}),
    ],
)
def test_an_answer_of_another_shape_is_an_error(status: int, document: dict[str, Any] | None) -> None:
    with pytest.raises(ValueError, match=r".+"):
        reply(status, document)
