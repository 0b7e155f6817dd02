"""RabbitMQ's queues are bounded, connected, and lose no expiry event."""

import pytest

from shared.topology import (
    DEAD_QUEUE,
    DUE_QUEUE,
    EXCHANGES,
    QUEUES,
    RETRY_QUEUES,
    RPC_QUEUE,
    URGENT_QUEUE,
    Queue,
    retry_queue,
)

BY_NAME = {queue.name: queue for queue in QUEUES}
NAMES = sorted(BY_NAME)


def routed(exchange: object, key: object) -> list[str]:
    return [queue.name for queue in QUEUES if (exchange, key) in queue.bindings]


@pytest.mark.parametrize(
    ("delay", "queue"),
    [(0, 10), (9.9, 10), (10, 10), (10.1, 60), (60, 60), (61, 300), (300, 300), (1e9, 300), (-1, 10)],
)
def test_a_delay_waits_in_the_queue_nearest_above_it_or_the_longest(delay: float, queue: int) -> None:
    assert retry_queue(delay) == RETRY_QUEUES[queue]


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(QUEUES)
    assert len({exchange.name for exchange in EXCHANGES}) == len(EXCHANGES)


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_is_bound_to_exchanges_that_there_are(name: str) -> None:
    assert {exchange for exchange, _ in BY_NAME[name].bindings} <= {exchange.name for exchange in EXCHANGES}


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_is_bounded_from_its_first_message(name: str) -> None:
    assert int(BY_NAME[name].arguments["x-max-length"]) > 0


@pytest.mark.parametrize("queue", [q for q in QUEUES if q.name != RPC_QUEUE], ids=lambda q: q.name)
def test_what_must_survive_a_node_is_replicated(queue: Queue) -> None:
    assert queue.arguments["x-queue-type"] == "quorum"


def test_a_request_that_nobody_took_ends_by_itself_and_a_full_queue_says_no() -> None:
    arguments = BY_NAME[RPC_QUEUE].arguments
    assert (arguments["x-message-ttl"], arguments["x-overflow"]) == (10_000, "reject-publish")


DEAD_LETTERING = [queue for queue in QUEUES if "x-dead-letter-exchange" in queue.arguments]


@pytest.mark.parametrize("queue", DEAD_LETTERING, ids=lambda q: q.name)
def test_dead_lettering_loses_nothing(queue: Queue) -> None:
    """At-least-once is granted to quorum queues that reject what is too much; else it is at-most-once.

    https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering
    """
    arguments = queue.arguments
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert (arguments["x-queue-type"], arguments["x-overflow"]) == ("quorum", "reject-publish")


@pytest.mark.parametrize("queue", DEAD_LETTERING, ids=lambda q: q.name)
def test_dead_letters_have_where_to_go(queue: Queue) -> None:
    wanted = [DUE_QUEUE] if queue.name in RETRY_QUEUES.values() else [DEAD_QUEUE]
    arguments = queue.arguments
    assert routed(arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == wanted


@pytest.mark.parametrize("name", [DUE_QUEUE, URGENT_QUEUE])
def test_an_event_that_ends_its_refreshers_is_given_up(name: str) -> None:
    assert BY_NAME[name].arguments["x-delivery-limit"] == 5


@pytest.mark.parametrize(("seconds", "name"), RETRY_QUEUES.items())
def test_a_retry_queue_keeps_a_message_as_long_as_its_name_says(seconds: int, name: str) -> None:
    assert name.endswith(f".{seconds}s")
    assert BY_NAME[name].arguments["x-message-ttl"] == seconds * 1000


@pytest.mark.parametrize("name", RETRY_QUEUES.values())
def test_nothing_is_put_into_a_retry_queue_but_by_its_name(name: str) -> None:
    assert BY_NAME[name].bindings == ()
