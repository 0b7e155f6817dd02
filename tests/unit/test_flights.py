import asyncio

from workers.flights import Flights


async def test_all_who_ask_for_a_key_share_one_flight():
    flights, begun, gate = Flights[str, int](), 0, asyncio.Event()

    async def work() -> int:
        nonlocal begun
        begun += 1
        await gate.wait()
        return begun

    asking = [asyncio.create_task(flights.join("grant", work)) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*asking) == [1] * 20
    assert await flights.join("grant", work) == 2


async def test_a_flight_outlives_whoever_asked_for_it():
    flights, gate, done = Flights[str, None](), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.set()

    asking = asyncio.create_task(flights.join("grant", work))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    gate.set()
    await flights.land()
    assert done.is_set()


async def test_after_landing_nothing_is_begun():
    flights = Flights[str, int]()
    await flights.land()

    async def work() -> int:
        raise AssertionError

    assert await flights.join("grant", work) is None
