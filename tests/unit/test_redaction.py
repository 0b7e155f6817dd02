"""What is logged holds no secret, however it came into the line."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import REMOVED, redacted

CANARY = "c4nary-Of_Secrets.0123456789abcdef"
JWT = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiJ0cmFja2VyIn0.c2lnbmF0dXJl-_QCX"
PEM = f"-----BEGIN PRIVATE KEY-----\nMC4{CANARY}\nAA==\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "line",
    [
        f"POST /token access_token={CANARY}&scope=a",
        f"refresh_token = {CANARY}",
        json.dumps({"access_token": CANARY, "n": 1}),
        json.dumps({"event": "x", "body": json.dumps({"refresh_token": CANARY})}),
        repr({"client_secret": CANARY}),
        repr({b"client_secret": CANARY.encode()}),
        urlencode({"grant_type": "refresh_token", "refresh_token": CANARY, "client_secret": CANARY}),
        f"headers: Authorization: Bearer {CANARY}",
        f"Headers({{'authorization': 'Basic {CANARY}', 'accept': '*/*'}})",
        f"[(b'authorization', b'Bearer {CANARY}'), (b'host', b'x')]",
        f"Cookie: __Host-vault-consent={CANARY}",
        f"DPoP: {CANARY}",
        f"sent Bearer {CANARY} to it",
        f"amqp://vault:{CANARY}@rabbit:5672/vault is down",
        f"postgresql+psycopg://vault:{CANARY}/with@sign@pg/vault",
        f"redis://:{CANARY}@redis/0",
        f"redis+sentinel://one,two/main?sentinel_password={CANARY}&x=1",
        f"GET https://v/v1/connect/slack?owner=ada&ticket={CANARY} HTTP/1.1",
        f"GET /v1/oauth/callback?state={CANARY}&code={CANARY}&iss=x",
        f"the admin's dva_{CANARY}",
        f"ghp_{CANARY.replace('-', '').replace('.', '')}",
        PEM,
        PEM[:40] + CANARY,
        f"private_key: {CANARY}",
    ],
)
def test_a_secret_is_removed_where_it_is_named(line: str) -> None:
    shown = redacted(line)
    assert CANARY[:12] not in shown
    assert REMOVED in shown


@pytest.mark.parametrize(
    "line", [JWT, f"token {JWT} of ada", f'{{"t": "{JWT}"}}', f"/v1?x={JWT}#", f"b'{JWT}'"]
)
def test_a_token_that_is_a_jwt_is_removed_wherever_it_stands(line: str) -> None:
    shown = redacted(line)
    assert JWT.split(".")[1] not in shown
    assert JWT.split(".")[2] not in shown


@pytest.mark.parametrize(
    "line",
    [
        '{"code": "store_unavailable", "path": "/v1/agents/{agent}/tokens", "event": "A request failed"}',
        "Waiting for the broker host=rabbit vhost=/vault reason=refused",
        '{"state": "reauth_required", "service": "slack-post", "generation": 7}',
        "amqp://vault@rabbit:5672/vault",
        "https://id.example/authorize?response_type=code&scope=a",
        "A new token is not in the cache; SQL serves it service=slack-post",
        "vault.reply.tracker.0123456789abcdef0123456789abcdef",
        "serve-host-17-0a0b0c0d",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redacted(line) == line


def test_a_line_of_json_stays_one() -> None:
    line = json.dumps({"event": "x", "url": f"https://v/c?ticket={CANARY}", "access_token": CANARY, "n": 2})
    assert json.loads(redacted(line)) == {
        "event": "x",
        "url": f"https://v/c?ticket={REMOVED}",
        "access_token": REMOVED,
        "n": 2,
    }


@given(st.text(max_size=200))
def test_any_text_is_taken_and_redacting_twice_is_redacting_once(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
