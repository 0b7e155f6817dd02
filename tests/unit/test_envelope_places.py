"""Every envelope is bound to the whole of its place: no part of it can be changed, swapped or moved along."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from typing import Any

import pytest
from builders import KEYS, NOW, a_provider
from contract.stores import a_grant

from shared import envelope
from shared.errors import SealBroken
from shared.model import AccessToken, GrantId, ProviderSecrets, RefreshToken
from shared.secret import Secret

CREDENTIAL = RefreshToken(value=Secret("rt"))
CLIENT = a_provider().client
SECRETS = ProviderSecrets(client_secrets=(Secret("secret"),))
TOKEN = AccessToken(
    value=Secret("at"),
    token_type="Bearer",
    scopes=(),
    issued_at=NOW,
    expires_at=None,
    generation=7,
    grant_id=GrantId("g1"),
)


@dataclass(frozen=True)
class Kind:
    """A kind of envelope: the place it is made for, and how it is sealed and opened at a place."""

    place: tuple[Any, ...]
    seal: Callable[..., bytes]
    open: Callable[..., object]


def _provider(name: str, token_url: str, client_id: str, revocation_url: str) -> Any:
    return a_provider(name=name, token_url=token_url, client_id=client_id, revocation_url=revocation_url)


def _open_credential(grant_id: str, owner: str, generation: int, sealed: bytes) -> object:
    grant = a_grant(id=grant_id, owner=owner, generation=generation, sealed_credential=sealed)
    return envelope.open_credential(KEYS, grant)


KINDS = {
    "credential": Kind(
        ("g1", "ada", 7), lambda *at: envelope.seal_credential(KEYS, *at, CREDENTIAL), _open_credential
    ),
    "enrolment": Kind(
        ("e1", "tracker", "ada"),
        lambda *at: envelope.seal_enrolment(KEYS, *at, CREDENTIAL),
        lambda *at: envelope.open_enrolment(KEYS, *at),
    ),
    "provider's secrets": Kind(
        ("strict", "https://id.example/token", "client", "https://id.example/revoke"),
        lambda *at: envelope.seal_provider_secrets(KEYS, _provider(*at), SECRETS),
        lambda *at: envelope.open_provider_secrets(KEYS, _provider(*at[:4]), at[4]),
    ),
    "spooled answer": Kind(
        ("g1", "ada", 7),
        lambda *at: envelope.seal_spooled(KEYS, *at, b"answer"),
        lambda *at: envelope.open_spooled(KEYS, *at),
    ),
    "token": Kind(
        ("tracker", "ada"),
        lambda *at: envelope.seal_token(KEYS, *at, TOKEN),
        lambda *at: envelope.open_token(KEYS, *at),
    ),
    "verifier": Kind(
        ("0a0b", "tracker", "ada"),
        lambda state, *at: envelope.seal_verifier(KEYS, state.encode(), *at, Secret("verifier"), CLIENT),
        lambda state, *at: envelope.open_verifier(KEYS, state.encode(), *at),
    ),
    "ticket": Kind(
        ("tracker", "ada"),
        lambda *at: envelope.seal_ticket(KEYS, *at, NOW),
        lambda *at: envelope.open_ticket(KEYS, *at),
    ),
    "transport key": Kind(
        (20_781,),
        lambda *at: envelope.seal_transport_key(KEYS, *at, b"material"),
        lambda *at: envelope.open_transport_key(KEYS, *at),
    ),
}


def changed(place: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """With each part in turn another."""
    other = [part + 1 if isinstance(part, int) else f"{part}x" for part in place]
    return [(*place[:i], other[i], *place[i + 1 :]) for i in range(len(place))]


def swapped(place: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """With each pair of texts in each other's place."""
    texts = [i for i, part in enumerate(place) if isinstance(part, str)]
    return [_with(place, {i: place[j], j: place[i]}) for i, j in combinations(texts, 2)]


def shifted(place: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """With a text's last letter moved to the next text, so that all together spell the same."""
    texts = [i for i, part in enumerate(place) if isinstance(part, str)]
    return [_with(place, {i: place[i][:-1], j: place[i][-1] + place[j]}) for i, j in pairwise(texts)]


def _with(place: tuple[Any, ...], parts: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(parts.get(i, part) for i, part in enumerate(place))


@pytest.mark.parametrize("name", KINDS)
def test_an_envelope_opens_where_it_belongs(name: str) -> None:
    kind = KINDS[name]
    assert kind.open(*kind.place, kind.seal(*kind.place))


MOVES = [
    pytest.param(name, place, id=f"{name} {move.__name__} to {place}")
    for name, kind in KINDS.items()
    for move in (changed, swapped, shifted)
    for place in move(kind.place)
]


@pytest.mark.parametrize(("name", "elsewhere"), MOVES)
def test_an_envelope_opens_nowhere_else(name: str, elsewhere: tuple[Any, ...]) -> None:
    kind = KINDS[name]
    with pytest.raises(SealBroken):
        kind.open(*elsewhere, kind.seal(*kind.place))


@pytest.mark.parametrize(("one", "other"), list(permutations(KINDS, 2)))
def test_an_envelope_is_never_taken_for_one_of_another_kind(one: str, other: str) -> None:
    """Though their places are spelled alike, as far as they can be."""
    source, target = KINDS[one], KINDS[other]
    place = [0 if isinstance(part, int) else "same" for part in source.place]
    elsewhere = [0 if isinstance(part, int) else "same" for part in target.place]
    with pytest.raises(SealBroken):
        target.open(*elsewhere, source.seal(*place))
