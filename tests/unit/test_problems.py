"""A refusal over HTTP: a status and a code for programs, a sentence for people."""

from http import HTTPStatus

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from dispenser.http.preference import wait_seconds
from dispenser.http.problems import STATUS, of_code, of_error, of_mistakes, of_reply, of_status
from dispenser.protocol import RETRYABLE, Code, Reply
from shared.errors import SealBroken, StoreUnavailable

REFUSALS = [code for code in Code if code is not Code.OK]


def test_every_code_has_its_status() -> None:
    assert {code.value: int(status) for code, status in STATUS.items()} == {
        "ok": 200,
        "invalid_request": 400,
        "unauthenticated": 401,
        "denied": 403,
        "insufficient_scope": 403,
        "not_found": 404,
        "reauth_required": 409,
        "ttl_unavailable": 409,
        "rate_limited": 429,
        "provider_down": 503,
        "overloaded": 503,
        "deadline_exceeded": 504,
    }
    assert set(STATUS) == set(Code)


@pytest.mark.parametrize("code", REFUSALS)
def test_a_document_has_the_members_of_rfc_9457_and_the_code(code: Code) -> None:
    problem = of_code(code, "What happened.")
    document = problem.document()
    assert document["type"] == "about:blank"
    assert document["title"] == HTTPStatus(document["status"]).phrase
    assert (document["status"], document["code"], document["detail"]) == (
        STATUS[code],
        code,
        "What happened.",
    )


@pytest.mark.parametrize("code", REFUSALS)
def test_retry_after_stands_where_asking_again_may_help_and_nowhere_else(code: Code) -> None:
    assert ("Retry-After" in of_code(code, "").headers) is (code in RETRYABLE)


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.2, "1"), (7.0, "7"), (7.1, "8")])
def test_retry_after_is_in_whole_seconds_and_never_too_soon(seconds: float | None, header: str) -> None:
    problem = of_reply(Reply(code=Code.RATE_LIMITED, retry_after=seconds))
    assert (problem.headers["Retry-After"], problem.extensions["retry_after"]) == (header, int(header))


def test_whoever_has_no_good_token_is_told_which_kind_to_bring() -> None:
    assert of_code(Code.UNAUTHENTICATED, "").headers["WWW-Authenticate"] == 'Bearer realm="vault"'


def test_what_helps_the_owner_goes_along() -> None:
    reply = Reply(
        code=Code.INSUFFICIENT_SCOPE,
        service="slack",
        missing_scopes=("chat:write",),
        connect_url="https://v/c",
    )
    assert of_reply(reply).extensions == {
        "service": "slack",
        "missing_scopes": ["chat:write"],
        "connect_url": "https://v/c",
    }


def test_a_failure_of_the_world_may_pass_and_tells_no_driver_s_words() -> None:
    problem = of_error(StoreUnavailable("connection to db-7.internal as vault:canary failed"))
    assert (problem.status, problem.code, problem.headers) == (503, "store_unavailable", {"Retry-After": "1"})
    assert "canary" not in str(problem.document())


def test_a_fault_that_stays_is_not_to_be_retried() -> None:
    problem = of_error(SealBroken("…"))
    assert (problem.status, problem.headers) == (500, {})


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    refresh_token: str


@pytest.mark.parametrize(
    "body",
    [
        '{"refresh_token": 1234567890}',
        '{"refresh_token": "x", "1234567890": 1}',
        '{"1234567890"',
        '"1234567890"',
    ],
)
def test_a_mistake_is_named_by_its_place_and_rule_and_never_repeated(body: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Strict.model_validate_json(body)
    problem = of_mistakes(refused.value.errors())
    assert (problem.status, problem.code) == (400, "invalid_request")
    assert problem.extensions["mistakes"]
    assert "1234567890" not in str(problem.document())


def test_routing_refuses_in_the_same_words() -> None:
    assert [of_status(status).code for status in (404, 405)] == ["not_found", "method_not_allowed"]


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 10.0),
        (["wait=5"], 5.0),
        (["WAIT = 5"], 5.0),
        (['respond-async, wait="5"'], 5.0),
        (["respond-async", "handling=lenient; x=1, wait=5"], 5.0),
        (["wait=0"], 0.0),
        (["wait=900"], 30.0),
        (["wait=-1"], 10.0),
        (["wait=5.5"], 10.0),
        (["wait=five"], 10.0),
        (["await=5"], 10.0),
        (["wait=" + "9" * 400], 10.0),
    ],
)
def test_a_client_waits_as_long_as_it_prefers_within_bounds(prefer: list[str], seconds: float) -> None:
    assert wait_seconds(prefer) == seconds
