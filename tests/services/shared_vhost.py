"""The only virtual host of a broker that has no HTTP API: emptied of the project's queues between tests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import aio_pika

from shared.topology import EXCHANGES, QUEUES


def clear(url: str) -> None:
    """Delete the project's queues and exchanges."""
    # In a thread of its own: the caller's may run an event loop already.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _clear(url)).result()


async def _clear(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in QUEUES:
            await channel.queue_delete(queue.name)
        for exchange in EXCHANGES:
            await channel.exchange_delete(exchange.name)
