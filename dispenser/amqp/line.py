from dataclasses import dataclass

from aio_pika.connection import Connection

from dispenser.amqp.transport import Deliveries, DeliveringTransport
from dispenser.amqp.writer import FrameWriter


@dataclass(frozen=True, slots=True)
class Line:
    """A connection to RabbitMQ that is up, and what goes past its driver."""

    connection: Connection
    deliveries: Deliveries
    writer: FrameWriter


async def connected(connection: Connection, timeout_seconds: float) -> Line:
    """Not by `aio_pika.connect`, which leaves a connection that fails to whoever collects garbage.

    Raises: what aio_pika raises, TimeoutError.
    """
    deliveries = Deliveries()
    connection.kwargs["transport_factory"] = transport = DeliveringTransport(deliveries)
    try:
        await connection.connect(timeout=timeout_seconds)
    except BaseException:
        await connection.close()
        raise
    assert connection.transport is not None  # noqa: S101 - it is connected
    assert transport.writer is not None  # noqa: S101 - by this transport
    writer = FrameWriter(connection.transport.connection, transport.writer, deliveries.closed)
    return Line(connection, deliveries, writer)
