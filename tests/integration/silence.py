import asyncio


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server's part in a connection: it takes whatever comes and says nothing."""
    try:
        await reader.read()
    finally:
        writer.transport.abort()  # also where the test ends first
