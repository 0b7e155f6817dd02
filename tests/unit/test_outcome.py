import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import AnswerPath, ExpiryUnit, Provider, ProviderName, RefusalKind
from shared.secret import Secret
from workers.answer import CLOSED, Answer
from workers.outcome import LONGEST_LIFE_SECONDS, Issued, Outcome, Refused, read, rest_seconds
from workers.pace import PAUSE_SECONDS

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PROVIDER = Provider(name=ProviderName("tracker-co"))
DEAD, CONFIG, LIMITED = RefusalKind.DEAD, RefusalKind.CLIENT_CONFIG, RefusalKind.RATE_LIMITED
TRANSIENT, AMBIGUOUS = RefusalKind.TRANSIENT, RefusalKind.AMBIGUOUS

ATLASSIAN = {"error": "unauthorized_client", "error_description": "refresh_token is invalid"}


def outcome(
    status: int | None,
    body: object = b"",
    *,
    retry_after: str | None = None,
    provider: Provider = PROVIDER,
    code_exchange: bool = False,
) -> Outcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = Answer(status=status, body=content, retry_after=retry_after, sent_at=NOW)
    return read(answer, provider, NOW, code_exchange=code_exchange)


def issued(**fields: Any) -> Issued:
    found = outcome(200, {"access_token": "at", **fields})
    assert isinstance(found, Issued)
    return found


def refused(*arguments: Any, **named: Any) -> Refused:
    found = outcome(*arguments, **named)
    assert isinstance(found, Refused)
    return found


def test_a_connection_that_the_provider_ended_says_nothing_of_the_credential():
    assert outcome(CLOSED) == Refused(kind=RefusalKind.AMBIGUOUS, code="connection_closed")


def test_the_answer_of_the_rfc_is_read():
    """RFC 6749 §5.1."""
    body = {
        "access_token": "2YotnFZFEjr1zCsicMWpAA", "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA", "scope": "a b",
    }  # fmt: skip
    assert outcome(200, body) == Issued(
        access_token=Secret("2YotnFZFEjr1zCsicMWpAA"),
        token_type="Bearer",
        expires_in_seconds=3600.0,
        scopes=("a", "b"),
        refresh_token=Secret("tGzv3JOkF0XG5Qx2TlKWIA"),
    )


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 429, 500, 503])
def test_an_access_token_is_success_whatever_the_status_says(status: int):
    assert isinstance(outcome(status, {"access_token": "at"}), Issued)


@pytest.mark.parametrize("token", ["", "  ", None, 7, [], {}, "a\nb", "ä", "a\x00"])
def test_nothing_else_is_success(token: object):
    assert refused(200, {"access_token": token}).kind is AMBIGUOUS


def test_a_form_is_read_too():
    found = outcome(
        200, b"access_token=at&scope=repo%2Cgist&token_type=bearer&refresh_token=rt&expires_in=28800"
    )
    assert found == Issued(
        access_token=Secret("at"),
        token_type="Bearer",
        expires_in_seconds=28800.0,
        scopes=("repo", "gist"),
        refresh_token=Secret("rt"),
    )


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b" ", b"\r\n"])
def test_a_byte_order_mark_or_blanks_do_no_harm(prefix: bytes):
    assert isinstance(outcome(200, prefix + b'{"access_token": "at"}'), Issued)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (3600, 3600), ("3600", 3600), (3599.5, 3599.5), ("3599.9", 3599.9), (" 60 ", 60),
        (0, None), (-5, None), (None, None), ("soon", None), (True, None), ([], None), ("nan", None),
        ("inf", None), (10**400, None), (10**15, LONGEST_LIFE_SECONDS),
    ],
)  # fmt: skip
def test_expires_in_is_taken_as_it_comes(said: object, seconds: float | None):
    assert issued(expires_in=said).expires_in_seconds == seconds


def test_milliseconds_are_seconds_divided():
    provider = Provider(name=ProviderName("p"), expires_in_unit=ExpiryUnit.MILLISECONDS)
    found = outcome(200, {"access_token": "at", "expires_in": 3_600_000}, provider=provider)
    assert isinstance(found, Issued)
    assert found.expires_in_seconds == 3600


@pytest.mark.parametrize(
    "omitted", [{}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": 5}]
)
def test_an_omitted_refresh_token_is_none(omitted: dict[str, object]):
    assert issued(**omitted).refresh_token is None


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ("a b", ("a", "b")),
        ("a,b", ("a", "b")),
        (["a", "b"], ("a", "b")),
        ("", None),
        (None, None),
        ([], None),
        (1, None),
    ],
)
def test_scopes_come_apart_however_they_are_joined(said: object, scopes: tuple[str, ...] | None):
    assert issued(scope=said).scopes == scopes


@pytest.mark.parametrize(
    ("said", "meant"), [("bearer", "Bearer"), ("bot", "Bearer"), ("user", "Bearer"), ("MAC", "MAC")]
)
def test_a_token_type_is_a_scheme(said: str, meant: str):
    assert issued(token_type=said).token_type == meant


SLACK = Provider(name=ProviderName("slack-user"), answer_path=AnswerPath(exchange="authed_user"))
TOKEN = {"access_token": "xoxe", "refresh_token": "r", "expires_in": 43200}


def test_the_fields_are_where_the_provider_is_declared_to_have_them_in_a_grant_and_in_a_refresh():
    bot = {"ok": True, "access_token": "xoxb", "authed_user": TOKEN}
    exchanged = outcome(200, bot, provider=SLACK, code_exchange=True)
    refreshed = outcome(200, {"ok": True, **TOKEN}, provider=SLACK)
    assert isinstance(exchanged, Issued)
    assert (exchanged.access_token, exchanged.refresh_token) == (Secret("xoxe"), Secret("r"))
    assert refreshed == exchanged


def test_a_member_of_a_member_may_hold_the_fields():
    provider = Provider(name=ProviderName("p"), answer_path=AnswerPath(refresh="data.token"))
    assert isinstance(outcome(200, {"data": {"token": TOKEN}}, provider=provider), Issued)


@pytest.mark.parametrize("body", [TOKEN, {"authed_user": "x"}, {"authed_user": {"access_token": ""}}])
def test_a_token_in_another_place_than_declared_is_not_taken_for_ours(body: dict[str, object]):
    """The bot's token at the top is not the user's."""
    assert isinstance(outcome(200, body, provider=SLACK, code_exchange=True), Refused)


OWN = Provider(
    name=ProviderName("own"),
    errors={
        "AADSTS50173": DEAD, "E1042": LIMITED, "temporarily_down": TRANSIENT, "invalid_grant": TRANSIENT,
        "http_418": AMBIGUOUS, "Expired.Secret": CONFIG,
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"error": "x", "error_description": "AADSTS50173: sign in again."}, DEAD, "AADSTS50173"),
        (200, {"ok": False, "code": "E1042"}, LIMITED, "E1042"),
        (500, {"error": "TEMPORARILY_DOWN"}, TRANSIENT, "temporarily_down"),
        (400, {"error": "invalid_grant"}, TRANSIENT, "invalid_grant"),
        (418, b"", AMBIGUOUS, "http_418"),
        (401, {"errors": [{"code": "expired.secret"}]}, CONFIG, "Expired.Secret"),
        (400, {"error": "invalid_client"}, CONFIG, "invalid_client"),
    ],
)
def test_a_providers_own_codes_mean_what_is_declared(status: int, body: object, kind: RefusalKind, code: str):
    assert refused(status, body, provider=OWN) == Refused(kind=kind, code=code)


def test_how_long_a_refresh_token_lives_is_read_where_it_is_said():
    assert issued(refresh_token_expires_in=15_897_600).refresh_token_expires_in_seconds == 15_897_600
    assert issued().refresh_token_expires_in_seconds is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"error": "invalid_grant"}, DEAD, "invalid_grant"),
        (401, {"error": "invalid_grant"}, DEAD, "invalid_grant"),
        (403, {"error": "INVALID_GRANT"}, DEAD, "invalid_grant"),
        (200, {"error": "bad_refresh_token"}, DEAD, "bad_refresh_token"),
        (200, b"error=bad_refresh_token&error_description=x", DEAD, "bad_refresh_token"),
        (200, {"ok": False, "error": "invalid_refresh_token"}, DEAD, "invalid_refresh_token"),
        (200, {"ok": False, "error": "token_revoked"}, DEAD, "token_revoked"),
        (401, {"errors": ["invalid_grant - the token is gone"]}, DEAD, "invalid_grant"),
        (400, {"errors": [{"code": "invalid_grant"}]}, DEAD, "invalid_grant"),
        (400, {"error": {"code": "invalid_grant", "message": "m"}}, DEAD, "invalid_grant"),
        (400, {"error_code": "invalid_grant"}, DEAD, "invalid_grant"),
        (403, ATLASSIAN, DEAD, "invalid_grant"),
        (401, {"error": "x", "error_description": "Old refresh token used."}, DEAD, "invalid_grant"),
        (400, {"error": "interaction_required"}, DEAD, "interaction_required"),
        (401, {"error": "invalid_client"}, CONFIG, "invalid_client"),
        (400, {"error": "invalid_client", "error_description": "AADSTS7000222"}, CONFIG, "invalid_client"),
        (200, {"error": "incorrect_client_credentials"}, CONFIG, "incorrect_client_credentials"),
        (400, {"error": "unauthorized_client"}, CONFIG, "unauthorized_client"),
        (401, b"", CONFIG, "http_401"),
        (429, {"error": "whatever"}, LIMITED, "whatever"),
        (200, {"ok": False, "error": "ratelimited"}, LIMITED, "ratelimited"),
        (400, {"error": "slow_down"}, LIMITED, "slow_down"),
        (400, {"error": "invalid_scope"}, TRANSIENT, "invalid_scope"),
        (400, b"<html>", TRANSIENT, "http_400"),
        (403, b"<html>blocked", TRANSIENT, "http_403"),
        (302, b"", TRANSIENT, "http_302"),
        (503, {"error": "invalid_grant"}, TRANSIENT, "invalid_grant"),
        (500, {"error": "invalid_grant"}, AMBIGUOUS, "invalid_grant"),
        (500, {"error": "invalid_client"}, AMBIGUOUS, "invalid_client"),
        (502, b"<html>", AMBIGUOUS, "http_502"),
        (504, b"", AMBIGUOUS, "http_504"),
        (408, b"", AMBIGUOUS, "http_408"),
        (200, b"", AMBIGUOUS, "http_200"),
        (200, b"<html>Under maintenance</html>", AMBIGUOUS, "http_200"),
        (200, b'{"access_token": "at", "refresh_tok', AMBIGUOUS, "http_200"),
        (200, b"[" * 60_000, AMBIGUOUS, "http_200"),
        (200, b"\xff\xfe", AMBIGUOUS, "http_200"),
        (200, [], AMBIGUOUS, "http_200"),
        (204, b"", AMBIGUOUS, "http_204"),
        (None, b"", TRANSIENT, "not_sent"),
    ],
)  # fmt: skip
def test_refusals_are_told_apart(status: int | None, body: object, kind: RefusalKind, code: str):
    found = refused(status, body)
    assert (found.kind, found.code) == (kind, code)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30", 30), ("1.5", 1.5), ("-3", 0), ("999999999", 86_400), ("later", None), (None, None),
        ("Tue, 24 Nov 2026 12:01:00 GMT", 60), ("Tue, 24 Nov 2026 11:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(said: str | None, seconds: float | None):
    assert refused(429, b"", retry_after=said).retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        (429, "12", 12.0), (429, None, PAUSE_SECONDS), (429, "soon", PAUSE_SECONDS), (503, "7", 7.0),
        (503, None, None), (200, "7", None), (CLOSED, None, None), (None, None, None),
    ],
)  # fmt: skip
def test_a_status_alone_may_ask_for_rest(status: int | None, said: str | None, seconds: float | None):
    assert rest_seconds(Answer(status=status, retry_after=said, sent_at=NOW), NOW) == seconds


def test_an_overloaded_provider_that_says_when_is_rate_limiting():
    assert refused(503, b"", retry_after="7") == Refused(kind=LIMITED, code="http_503", retry_after_seconds=7)


@pytest.mark.parametrize("secret", ["ghr_Abc123", "1//0g-secret", "secret.with.dots", "a" * 300])
def test_a_secret_in_the_place_of_a_code_is_not_repeated(secret: str):
    assert refused(400, {"error": secret}).code == "http_400"


def test_no_secret_shows_in_a_repr():
    text = repr(issued(refresh_token="hidden-rt")) + repr(outcome(200, {"access_token": "hidden-at"}))
    assert "hidden" not in text


@given(
    status=st.integers(100, 599), body=st.binary(max_size=300), retry_after=st.none() | st.text(max_size=40)
)
def test_whatever_comes_is_an_outcome(status: int, body: bytes, retry_after: str | None):
    assert isinstance(outcome(status, body, retry_after=retry_after), Issued | Refused)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        "access_token", "refresh_token", "expires_in", "scope",
        "error", "errors", "token_type", "authed_user",
    ]
)  # fmt: skip


@given(status=st.integers(100, 599), body=st.dictionaries(_NAMES, _JSON))
def test_fields_of_any_type_are_an_outcome_fit_for_a_header(status: int, body: dict[str, object]):
    found = outcome(status, body)
    if isinstance(found, Issued):
        assert found.access_token.reveal().isprintable()
        assert found.access_token.reveal().isascii()
