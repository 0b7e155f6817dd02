"""A token is held while it has the life that is asked for, and not after it was rejected."""

import pytest

from dispenser.client.memory import KEPT_WITHOUT_EXPIRY_SECONDS, Memory, Wanted
from dispenser.client.token import Token, from_reply
from dispenser.protocol import Code, Reply

WANTED = Wanted(service="slack-post", owner=None, scopes=frozenset())


def token(generation: int = 1, *, expires: bool = True, service: str = "slack-post") -> Token:
    reply = Reply(code=Code.OK, access_token="t", generation=generation, expires_at=1e9 if expires else None)
    return from_reply(reply, service=service, owner=None)


def memory(expires_in: float | None, held: Token | None = None) -> Memory:
    made = Memory()
    made.keep(WANTED, held or token(), expires_in=expires_in, asked_at=1000)
    return made


@pytest.mark.parametrize(
    ("life", "min_ttl", "age", "found"),
    [
        (3600, 60, 3539, True),
        (3600, 60, 3540, False),
        (3600, 0, 3599, True),
        (3600, 0, 3600, False),
        (3600, None, 3539, True),
        (3600, None, 3541, False),
        (100, None, 79, True),
        (100, None, 81, False),
        (10, 60, 0, False),
    ],
)
def test_a_token_is_found_while_it_has_life_left(
    life: float, min_ttl: float | None, age: float, found: bool
) -> None:
    assert (memory(life).find(WANTED, min_ttl=min_ttl, now=1000 + age) is not None) == found


def test_a_token_without_expiry_is_asked_for_again_some_time() -> None:
    held = memory(None, token(expires=False))
    assert held.find(WANTED, min_ttl=1e6, now=1000 + KEPT_WITHOUT_EXPIRY_SECONDS - 1) is not None
    assert held.find(WANTED, min_ttl=None, now=1000 + KEPT_WITHOUT_EXPIRY_SECONDS) is None


@pytest.mark.parametrize(
    "other",
    [
        Wanted(service="time-tracker", owner=None, scopes=frozenset()),
        Wanted(service="slack-post", owner="ada", scopes=frozenset()),
        Wanted(service="slack-post", owner=None, scopes=frozenset({"a"})),
    ],
)
def test_a_token_is_only_found_for_what_it_was_asked_for(other: Wanted) -> None:
    assert memory(3600).find(other, min_ttl=None, now=1000) is None


def test_a_rejected_token_is_forgotten_under_every_scope() -> None:
    held = memory(3600)
    narrow = Wanted(service="slack-post", owner=None, scopes=frozenset({"a"}))
    held.keep(narrow, token(), expires_in=3600, asked_at=1000)
    assert held.reject(token())
    assert held.find(WANTED, min_ttl=None, now=1000) is None
    assert held.find(narrow, min_ttl=None, now=1000) is None


def test_a_late_rejection_leaves_the_next_generation_alone() -> None:
    held = memory(3600, token(generation=2))
    assert not held.reject(token(generation=1))
    assert held.find(WANTED, min_ttl=None, now=1000) == token(generation=2)


def test_a_rejection_leaves_other_services_alone() -> None:
    held = memory(3600)
    assert held.reject(token(service="time-tracker"))
    assert held.find(WANTED, min_ttl=None, now=1000) is not None
