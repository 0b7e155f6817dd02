"""Requests may be spread over several queues: agents know of none of them."""

from pathlib import Path

import aio_pika
from builders import KEYS, VAULT
from integration.desk import Desk

from dispenser import Vault
from dispenser.vault_token import mint
from shared.adapters.amqp_bus import AmqpBus
from shared.topology import RPC_EXCHANGE, RPC_KEY, RPC_QUEUE

SHARD = f"{RPC_QUEUE}.7"


async def test_a_request_is_answered_from_the_queue_that_it_is_led_to(tmp_path: Path, vhost: str) -> None:
    desk, bus = Desk(tmp_path), AmqpBus(vhost, name="dispenser")
    await desk.open()
    await bus.start()
    await bus.declare()
    async with await aio_pika.connect(vhost) as connection:
        channel = await connection.channel()
        shard = await channel.declare_queue(SHARD, durable=True)
        await shard.bind(RPC_EXCHANGE, RPC_KEY)
        await (await channel.get_queue(RPC_QUEUE)).unbind(RPC_EXCHANGE, RPC_KEY)
    await desk.grant()
    await desk.door(bus, vhost, queue=SHARD).open()
    async with Vault(vhost, mint(KEYS, desk.identity(), vault=VAULT)) as vault:
        assert (await vault.token("time-tracker")).value == "token-1"
    await bus.close()
    await desk.close()
