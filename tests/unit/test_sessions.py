"""Any dispenser serves any session, for as long as it lives and its keys are held."""

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from builders import VAULT, an_identity
from sealed_agent import PLACE, SealedAgent

from dispenser import keyset, sealed_frame, sessions, transport_key
from dispenser.opening import Opened
from dispenser.protocol import RenewCall
from dispenser.sealed_session import Unopened
from dispenser.sessions import Sessions, UnknownKey
from dispenser.ticket import UnknownTicket
from dispenser.transport_key import SESSION_SECONDS, TransportKey, begins_at
from dispenser.vault_token import Identity, mint
from shared import keyring
from shared.keyring import Keyring

DAY = 20_781
NOON = begins_at(DAY) + timedelta(hours=12)
TODAY, TOMORROW = (transport_key.from_material(day, os.urandom(64)) for day in (DAY, DAY + 1))
KEYS = keyring.parse(json.dumps(keyring.generate()))


class Held:
    """The transport keys that a dispenser holds."""

    def __init__(self, *keys: TransportKey) -> None:
        self.hold(*keys)

    def hold(self, *keys: TransportKey) -> None:
        self.current, self.published = keys[0], keys
        self.by_id = {key.id: key for key in keys}


class Dispenser:
    """One process's part, on a clock that moves when told."""

    def __init__(self, *keys: TransportKey, keyring: Keyring = KEYS) -> None:
        self.now = NOON
        self.held = Held(*keys or (TODAY, TOMORROW))
        self.sessions = Sessions(self.held, keyring, self.clock, os.urandom)  # type: ignore[arg-type]

    def clock(self) -> datetime:
        return self.now


def an_agent(dispenser: Dispenser, identity: Identity | None = None, place: str = "/") -> SealedAgent:
    """In a session that a dispenser has opened."""
    identity = identity or lively()
    token = mint(KEYS, identity, vault=VAULT)
    agent = SealedAgent(replace(PLACE, vhost=place))
    [to, *_] = keyset.verified(dispenser.sessions.keyset(), token, NOON.timestamp())
    body = agent.opening(token, to, sent_at=NOON.timestamp())
    shown, _ = dispenser.sessions.shown(body, agent.place)
    assert shown.vault_token == token
    assert isinstance(agent.hear(dispenser.sessions.opened(body, shown, identity)), Opened)
    return agent


def lively(**changes: object) -> Identity:
    return an_identity(**{"issued_at": NOON, "expires_at": NOON + timedelta(hours=8)} | changes)


def served(dispenser: Dispenser, agent: SealedAgent) -> Identity:
    """Whom the dispenser takes the agent for that asks it something."""
    frame = sealed_frame.read_request(agent.request(RenewCall(), sent_at=NOON.timestamp()))
    session = dispenser.sessions.of(frame.ticket)
    session.sealed.open_request(frame, agent.place)
    return session.identity


def test_a_session_opened_at_one_dispenser_is_served_by_all() -> None:
    agent = an_agent(Dispenser())
    for _ in range(2):
        assert served(Dispenser(), agent) == lively()


def test_a_session_is_its_agents() -> None:
    dispenser = Dispenser()
    alice, eve = an_agent(dispenser), an_agent(dispenser, lively(owner="eve"))
    assert served(dispenser, eve).owner == "eve"
    eve.ticket = alice.ticket
    with pytest.raises(Unopened):
        served(dispenser, eve)


@pytest.mark.parametrize("life", [timedelta(minutes=10), timedelta(hours=8)])
def test_a_session_ends_with_its_vault_token_and_after_an_hour_at_the_latest(life: timedelta) -> None:
    dispenser = Dispenser()
    agent = an_agent(dispenser, lively(expires_at=NOON + life))
    dispenser.now = NOON + min(life, timedelta(seconds=SESSION_SECONDS)) - timedelta(microseconds=1)
    served(dispenser, agent)
    dispenser.now += timedelta(microseconds=1)
    for asked in (dispenser, fresh := Dispenser()):
        fresh.now = dispenser.now
        with pytest.raises(UnknownTicket):
            served(asked, agent)


def test_a_withdrawn_key_ends_its_sessions_also_where_they_are_remembered() -> None:
    dispenser = Dispenser()
    agent = an_agent(dispenser)
    served(dispenser, agent)
    dispenser.held.hold(TOMORROW)
    with pytest.raises(UnknownTicket):
        served(dispenser, agent)


def test_an_opening_to_a_key_that_is_not_held_is_told_apart() -> None:
    """The agent then asks for the keyset; an opening that was altered is another matter."""
    agent = SealedAgent()
    token = mint(KEYS, lively(), vault=VAULT)
    [to, *_] = keyset.verified(Dispenser(TODAY).sessions.keyset(), token, NOON.timestamp())
    body = agent.opening(token, to, sent_at=0.0)
    with pytest.raises(UnknownKey):
        Dispenser(TOMORROW).sessions.shown(body, agent.place)
    with pytest.raises(Unopened):
        Dispenser(TODAY).sessions.shown(body[:-1] + bytes((body[-1] ^ 1,)), agent.place)


def test_sessions_that_are_asked_in_are_remembered_and_others_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "REMEMBERED", 2)
    dispenser = Dispenser()
    busy, idle, last = (an_agent(dispenser) for _ in range(3))
    for agent in (busy, idle, busy, last, idle):
        served(dispenser, agent)
    assert list(dispenser.sessions._remembered) == [last.ticket, idle.ticket]


def test_the_keyset_follows_the_transport_keys_and_the_vaults_signing_keys() -> None:
    document = keyring.generate(NOON)
    keys = keyring.parse(json.dumps(document))
    dispenser = Dispenser(TODAY, keyring=keys)
    old = mint(keys, lively(), vault=VAULT)
    first = dispenser.sessions.keyset()
    assert dispenser.sessions.keyset() is first
    document["keys"].append(keyring.new_key("signing", made=NOON, current_from=NOON))
    keys.become(keyring.parse(json.dumps(document)))
    dispenser.held.hold(TODAY, TOMORROW)
    for token in (old, mint(keys, lively(), vault=VAULT)):
        published = keyset.verified(dispenser.sessions.keyset(), token, NOON.timestamp())
        assert [key.id for key in published] == [TODAY.id, TOMORROW.id]
