import asyncio
from datetime import timedelta

import pytest
from integration.refreshing import Vault
from integration.watching import Watching

from dispenser.testing import Behaviour
from dispenser.testing.faults import Hang
from shared.adapters.memory_bus import MemoryBus
from shared.cache_keys import TOMBSTONE, epoch_key, epoch_moment, token_key
from shared.errors import BusUnavailable
from shared.model import Grant, GrantState, Revocation, RevocationKind, Rotation
from shared.ports import Claim, Delivery, Outgoing, Settlement
from shared.topology import DEAD_QUEUE, DELIVERY_LIMIT, DUE_QUEUE, REFRESH_EXCHANGE, URGENT_KEY
from workers.decision import LEASE_SECONDS
from workers.heartbeat import HEARD_SECONDS
from workers.janitor import OUTBOX_AGE_SECONDS, TAKEOVER_SECONDS, Janitor
from workers.refresher import Refresher
from workers.revocations import Revocations
from workers.scheduler import ANNOUNCED_SECONDS, Scheduler
from workers.takeover import ANSWERED_SECONDS, WATCHED_SECONDS

HOUR = 3600


def scheduler(vault: Vault) -> Scheduler:
    return Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=0.5)


async def abandoned(vault: Vault, rotation: Rotation) -> None:
    """A grant whose rotation's refresher is gone after its lease."""
    await vault.declare(rotation)
    await vault.refresher()
    await vault.connect()
    now = vault.clock()
    await vault.store.rotations.claim(
        (await vault.grant()).id,
        1,
        holder="gone",
        now=now,
        lease_until=now + timedelta(seconds=LEASE_SECONDS),
    )
    vault.clock.advance(LEASE_SECONDS + 1)


async def test_what_is_due_is_refreshed_before_it_ends(vault: Vault):
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    assert await scheduler(vault).announce() == 0
    vault.clock.advance(0.8 * HOUR)
    assert await scheduler(vault).announce() == 1
    await vault.settled()
    assert (await vault.grant()).generation == 2


async def test_an_announcement_is_made_once_and_repeated_when_nothing_came_of_it(vault: Vault):
    await vault.declare()
    refresher = await vault.refresher()
    await vault.connect()
    await vault.bus.drain()  # nobody listens any more
    await refresher.drain()
    vault.clock.advance(0.8 * HOUR)
    announced = [await scheduler(vault).announce(), await scheduler(vault).announce()]
    vault.clock.advance(ANNOUNCED_SECONDS + 1)
    assert [*announced, await scheduler(vault).announce()] == [1, 0, 1]


@pytest.mark.parametrize("rotation", [Rotation(rotates=False), Rotation(grace_seconds=600)])
async def test_a_grant_left_by_a_dead_refresher_is_tried_again_where_that_is_harmless(
    vault: Vault, rotation: Rotation
):
    await abandoned(vault, rotation)
    watching = Watching(vault)
    assert await watching.watch(WATCHED_SECONDS - TAKEOVER_SECONDS) == 0  # its holder may be alive
    assert await watching.look(after_seconds=TAKEOVER_SECONDS) == 1
    vault.clock.advance(1)
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


async def test_a_short_grace_is_met_although_the_refresher_is_dead(vault: Vault):
    """Thirty seconds from the request to its repetition, with a janitor and a scheduler between."""
    vault.emulator.behaviour = Behaviour(grace_seconds=30)
    await vault.declare(Rotation(grace_seconds=30))
    await vault.refresher()
    await vault.connect()
    began, grant = vault.clock(), await vault.grant()
    until = began + timedelta(seconds=LEASE_SECONDS)
    await vault.store.rotations.claim(grant.id, 1, holder="gone", now=began, lease_until=until)
    watching = Watching(vault)
    while not await watching.look(after_seconds=TAKEOVER_SECONDS):
        vault.clock.advance(TAKEOVER_SECONDS)
    vault.clock.advance(1)
    assert await scheduler(vault).announce() == 1
    await vault.settled()
    assert (await vault.grant()).generation == 2
    assert (vault.clock() - began).total_seconds() < 30


@pytest.mark.parametrize("grace_seconds", [0, 600])
async def test_a_silent_refresher_is_not_hurried_where_there_is_no_hurry(vault: Vault, grace_seconds: int):
    """A sign of life may be lost with the cache, and its refresher be at it all the time."""
    await abandoned(vault, Rotation(grace_seconds=grace_seconds))
    assert await Watching(vault).watch(60) == 0


async def test_a_refresher_that_is_heard_is_not_hurried(vault: Vault):
    await vault.declare(Rotation(grace_seconds=30))
    await vault.refresher()
    await vault.connect()
    now = vault.clock()
    claim = await vault.store.rotations.claim(
        (await vault.grant()).id, 1, holder="refresher-1", now=now, lease_until=now + timedelta(seconds=120)
    )
    assert isinstance(claim, Claim)
    assert await Watching(vault).watch(60) == 0


async def answered(vault: Vault, rotation: Rotation) -> Refresher:
    """A refresher that lives, and whose database takes nothing of what it is told."""
    await vault.declare(rotation)
    refresher = await vault.refresher()
    await vault.connect()
    vault.rotations.commits_fail = True
    await vault.ask(1)
    await refresher._replay.spooled()
    await refresher._heartbeat.beat()
    return refresher


async def test_a_living_refresher_that_has_the_answer_is_waited_for(vault: Vault):
    """What another would send in its place is spent by now."""
    refresher = await answered(vault, Rotation())
    watching = Watching(vault)
    assert await watching.watch(ANSWERED_SECONDS - TAKEOVER_SECONDS) == 0

    await refresher.drain()
    vault.clock.advance(HEARD_SECONDS + 1)

    assert await watching.look(after_seconds=0.0) == 1


async def test_a_living_refresher_that_has_the_answer_is_not_waited_for_for_ever(vault: Vault):
    await answered(vault, Rotation())
    assert await Watching(vault).watch(ANSWERED_SECONDS) == 1


async def test_a_living_refresher_is_not_waited_for_where_asking_anew_is_harmless(vault: Vault):
    await answered(vault, Rotation(rotates=False))
    assert await Watching(vault).watch(WATCHED_SECONDS) == 1


async def test_a_clock_that_is_wrong_gives_no_living_refresher_up(vault: Vault):
    await abandoned(vault, Rotation())
    watching = Watching(vault)
    await watching.look(after_seconds=0.0)
    vault.clock.advance(HOUR)
    assert await watching.look(after_seconds=TAKEOVER_SECONDS) == 0


async def test_time_in_which_the_database_was_away_is_not_watching(vault: Vault):
    await abandoned(vault, Rotation())
    watching = Watching(vault)
    await watching.look(after_seconds=0.0)
    assert await watching.look(after_seconds=HOUR) == 0


async def test_a_strict_grant_left_by_a_dead_refresher_is_unknown_and_told(vault: Vault):
    await abandoned(vault, Rotation())
    await Watching(vault).watch(WATCHED_SECONDS)
    grant, calls = await vault.grant(), vault.emulator.token_calls
    assert (grant.state, grant.last_error) == (GrantState.UNKNOWN, "holder_gone")
    assert vault.events[-1] == "credential.refresh_failed"
    assert (await vault.actions())[-1] == "grant.refresh_failed"
    await vault.ask(1)
    assert vault.emulator.token_calls == calls


async def test_an_answer_that_comes_back_after_a_takeover_is_applied(vault: Vault):
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    hang = Hang(processed=True)
    vault.emulator.faults.next(hang)
    asking = asyncio.create_task(vault.ask(1))
    await hang.reached()
    assert await Watching(vault).watch(WATCHED_SECONDS) == 1
    assert (await vault.grant()).state is GrantState.UNKNOWN
    hang.release()
    await asking
    grant = await vault.grant()
    assert (grant.state, grant.generation) == (GrantState.ACTIVE, 2)
    assert vault.events[-1] == "credential.recovered"


async def connected(vault: Vault) -> Grant:
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    return await vault.grant()


async def test_what_was_revoked_is_brought_to_a_cache_that_missed_it(vault: Vault):
    revocation = Revocation(kind=RevocationKind.AGENT, subject="tracker", revoked_at=vault.clock())
    await vault.store.revocations.add(revocation)
    grant = await connected(vault)
    await vault.store.grants.revoke(grant.id, vault.clock(), [])

    await Revocations(vault.store, vault.cache, vault.clock).carry()

    keys = [epoch_key(RevocationKind.AGENT, "tracker"), token_key(grant.service, grant.owner)]
    epoch, token = await vault.cache.get_many(keys)
    assert epoch is not None
    assert epoch_moment(epoch) == revocation.revoked_at
    assert token == TOMBSTONE


async def test_a_revoked_grant_that_was_connected_anew_keeps_its_new_token(vault: Vault):
    grant = await connected(vault)
    await vault.store.grants.revoke(grant.id, vault.clock(), [])
    newer = b"of a later generation"
    await vault.cache.put_if_newer(token_key(grant.service, grant.owner), grant.generation + 2, newer, None)

    await Revocations(vault.store, vault.cache, vault.clock).carry()

    assert await vault.cache.get_many([token_key(grant.service, grant.owner)]) == [newer]


async def test_events_that_the_bus_did_not_take_are_published_later(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    await vault.declare()
    await vault.refresher()
    published = vault.bus.publish

    async def without_events(message: Outgoing) -> None:
        if message.exchange != REFRESH_EXCHANGE:
            raise BusUnavailable("Made to fail.")
        await published(message)

    with monkeypatch.context() as broken:
        broken.setattr(vault.bus, "publish", without_events)
        await vault.connect()
    assert vault.events == []
    vault.clock.advance(OUTBOX_AGE_SECONDS + 1)
    janitor = Janitor(store=vault.store, bus=vault.bus, cache=vault.cache, clock=vault.clock, name="janitor")
    await janitor.empty_outbox()
    assert vault.events == ["credential.connected"]
    assert await vault.store.outbox.pending(10, written_before=vault.clock()) == []


async def test_a_message_that_does_not_parse_is_told_of_and_buried(vault: Vault):
    await vault.refresher()
    await vault.bus.publish(Outgoing(exchange=REFRESH_EXCHANGE, routing_key=URGENT_KEY, body=b"\xc1"))
    while not vault.waiting():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    assert vault.waiting() == {DEAD_QUEUE: 1}
    janitor = Janitor(store=vault.store, bus=vault.bus, cache=vault.cache, clock=vault.clock, name="janitor")
    running = asyncio.create_task(janitor.run())
    while not (records := await vault.store.audit.query()):  # noqa: ASYNC110
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert [record.action for record in records] == ["refresh.dead_lettered"]
    assert vault.waiting() == {}


async def test_an_announcement_that_died_with_every_refresher_that_had_it_is_made_again(vault: Vault):
    """A broker gives a message up after so many deliveries, whoever is to blame: SQL knows what is due."""
    await vault.declare()
    refresher = await vault.refresher()
    await vault.connect()
    await vault.bus.drain()
    await refresher.drain()
    vault.clock.advance(0.8 * HOUR)
    vault.bus = MemoryBus(vault.bus.broker)
    await vault.bus.start()
    assert await scheduler(vault).announce() == 1
    for _ in range(DELIVERY_LIMIT + 1):
        await killed_with_what_is_due_in_hand(vault)
    assert vault.waiting() == {DEAD_QUEUE: 1}

    await vault.refresher()
    await vault.settled()
    assert (await vault.grant()).generation == 1
    vault.clock.advance(ANNOUNCED_SECONDS + 1)
    assert await scheduler(vault).announce() == 1
    await vault.settled()
    assert (await vault.grant()).generation == 2


async def killed_with_what_is_due_in_hand(vault: Vault) -> None:
    taken = asyncio.Event()

    async def keep(_: Delivery) -> Settlement:
        taken.set()
        return await asyncio.Future()

    bus = MemoryBus(vault.bus.broker)
    await bus.start()
    await bus.consume(DUE_QUEUE, keep, prefetch=10)
    await taken.wait()
    await bus.close()
