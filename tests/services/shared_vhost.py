"""The only virtual host of a broker that has no HTTP API: emptied of the project's queues between tests."""

import asyncio

import aio_pika

from shared.topology import EXCHANGES, QUEUES


def clear(url: str) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_clear(url))
    finally:
        loop.close()


async def _clear(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in QUEUES:
            await channel.queue_delete(queue.name)
        for exchange in EXCHANGES:
            await channel.exchange_delete(exchange.name)
