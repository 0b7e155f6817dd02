"""The peer: FastStream's RPC, answering each request with 800 bytes."""

import asyncio
import os
import sys

from faststream.rabbit import RabbitBroker, RabbitQueue

QUEUE = "bench.faststream"
REPLY = os.urandom(800)


async def main(url: str) -> None:
    broker = RabbitBroker(url, logger=None)

    @broker.subscriber(RabbitQueue(QUEUE, auto_delete=True))
    async def echo(_body: bytes) -> bytes:
        return REPLY

    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
