"""Asks an echo and waits for its reply, as the client in aio-pika's RPC guide does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from bench.load import Ask

#: As long as a request of ours, more or less.
REQUEST = b"r" * 400


@asynccontextmanager
async def echo_caller(url: str, queue: str) -> AsyncIterator[Ask]:
    """On a connection and with a reply queue of its own."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    replies = await channel.declare_queue(exclusive=True)
    waiting: dict[str, asyncio.Future[bytes]] = {}
    numbers = count()

    async def answered(message: AbstractIncomingMessage) -> None:
        waiting.pop(str(message.correlation_id)).set_result(message.body)

    await replies.consume(answered, no_ack=True)

    async def ask() -> bytes:
        number = str(next(numbers))
        answer = waiting[number] = asyncio.get_running_loop().create_future()
        message = aio_pika.Message(REQUEST, correlation_id=number, reply_to=replies.name)
        await channel.default_exchange.publish(message, queue)
        return await answer

    try:
        yield ask
    finally:
        await connection.close()
