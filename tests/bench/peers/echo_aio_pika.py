"""The peer: a worker that answers each request with 800 bytes, as aio-pika's own RPC guide has it."""

import asyncio
import os
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

QUEUE, QUEUE_ON_UVLOOP = "bench.echo", "bench.echo.uvloop"
REPLY = os.urandom(800)


async def main(url: str, queue_name: str) -> None:
    connection = await aio_pika.connect(url)
    # Without confirms: what is measured is an echo, and nothing else.
    channel = await connection.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=256)
    queue = await channel.declare_queue(queue_name, auto_delete=True)

    async def echo(message: AbstractIncomingMessage) -> None:
        async with message.process():
            assert message.reply_to
            await channel.default_exchange.publish(
                aio_pika.Message(REPLY, correlation_id=message.correlation_id), message.reply_to
            )

    await queue.consume(echo)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main(sys.argv[1], QUEUE_ON_UVLOOP))
    else:
        asyncio.run(main(sys.argv[1], QUEUE))
