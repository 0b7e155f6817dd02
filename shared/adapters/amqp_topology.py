from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelClosed

from shared.adapters.amqp_channel import Reopening
from shared.errors import ConfigurationError
from shared.topology import EXCHANGES, QUEUES, Exchange, Queue


async def declare_topology(channel: Reopening[AbstractChannel]) -> None:
    """Declare exchanges, queues and bindings; what is there already stays. Raises: ConfigurationError with
    everything that differs."""
    everything: tuple[Exchange | Queue, ...] = (*EXCHANGES, *QUEUES)
    mistakes = [await _mistake(channel, declared) for declared in everything]
    if found := [mistake for mistake in mistakes if mistake]:
        raise ConfigurationError(found)


async def _mistake(channel: Reopening[AbstractChannel], declared: Exchange | Queue) -> str | None:
    try:
        if isinstance(declared, Exchange):
            await _declare_exchange(channel, declared)
        else:
            await _declare_queue(channel, declared)
    except ChannelClosed as error:
        return (
            f"{declared.name}: RabbitMQ refused to declare it ({error.args[-1]}). Delete or rename the one "
            "that is there, or use a user with the right to configure, and run `dispenser init` again."
        )
    return None


async def _declare_exchange(channel: Reopening[AbstractChannel], exchange: Exchange) -> None:
    await (await channel.get()).declare_exchange(exchange.name, exchange.type, durable=True)


async def _declare_queue(channel: Reopening[AbstractChannel], queue: Queue) -> None:
    declared = await (await channel.get()).declare_queue(
        queue.name, durable=True, arguments=dict(queue.arguments)
    )
    for exchange, key in queue.bindings:
        await declared.bind(exchange, key)
