"""A vault token is verified once and remembered, never beyond its end, and never in too great a number."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from builders import KEYS, NOW, OTHER_KEYS, VAULT, a_vault_token, an_identity

from dispenser import authentication
from dispenser.authentication import Authentication
from dispenser.vault_token import InvalidVaultToken, verify


class Door:
    """Authentication with a clock that moves when told, and a count of the signatures it checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        self.checked = 0
        self._authentication = Authentication(KEYS, VAULT, self._clock)
        monkeypatch.setattr(authentication, "verify", self._verify)

    def identify(self, text: str) -> object:
        return self._authentication.identify(text)

    def _clock(self) -> datetime:
        return self.now

    def _verify(self, *arguments: object, **named: object) -> object:
        self.checked += 1
        return verify(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


def test_a_token_is_verified_once(door: Door) -> None:
    token = a_vault_token()
    assert door.identify(token) == door.identify(token) == an_identity()
    assert door.checked == 1


def test_a_remembered_token_ends_when_it_ends(door: Door) -> None:
    token = a_vault_token()
    door.identify(token)
    door.now = an_identity().expires_at - timedelta(microseconds=1)
    assert door.identify(token) == an_identity()
    door.now = an_identity().expires_at
    for _ in range(2):
        with pytest.raises(InvalidVaultToken, match="expired"):
            door.identify(token)


@pytest.mark.parametrize("text", ["", "garbage", a_vault_token(OTHER_KEYS), a_vault_token() + "x"])
def test_what_was_refused_is_refused_again(door: Door, text: str) -> None:
    door.identify(a_vault_token())
    for _ in range(2):
        with pytest.raises(InvalidVaultToken):
            door.identify(text)


def test_no_more_are_remembered_than_memory_is_meant_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED", 2)
    first, second, third = (a_vault_token(token_id=f"token-{number}") for number in range(3))
    for token in (first, second, third):
        door.identify(token)
    door.identify(third)
    assert door.checked == 3
    door.identify(first)
    assert door.checked == 4


def test_a_remembered_token_goes_with_the_key_that_signed_it() -> None:
    keys = replace(KEYS)
    authentication = Authentication(keys, VAULT, lambda: NOW)
    token = a_vault_token(KEYS)
    authentication.identify(token)
    keys.become(OTHER_KEYS)
    with pytest.raises(InvalidVaultToken):
        authentication.identify(token)
    assert authentication.identify(a_vault_token(OTHER_KEYS)) == an_identity()
