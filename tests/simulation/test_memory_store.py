"""The store of the simulation keeps the contract that the databases keep."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from contract import (
    test_store_access,
    test_store_catalogue,
    test_store_enrolments,
    test_store_grants,
    test_store_handbacks,
    test_store_purge,
    test_store_records,
    test_store_rotations,
    test_store_transport_keys,
)
from simulation.inline_sqlite import ROOMS
from simulation.memory_store import MemoryStore

from shared.ports import Store


class _Yielding:
    """A room whose calls let others run first, as a database's do."""

    def __init__(self, room: Any) -> None:
        self._room = room

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._room, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(0)
            return await method(*arguments, **named)

        return call


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for room in ROOMS:
        setattr(store, room, _Yielding(getattr(store, room)))
    return store


@pytest.fixture
def other_store(store: MemoryStore) -> MemoryStore:
    return store


def _of_the_port_alone(module: ModuleType) -> dict[str, Any]:
    """The tests that know nothing of a store but its port."""
    tests = {name: test for name, test in vars(module).items() if name.startswith("test_")}
    return {name: test for name, test in tests.items() if _asks_for_stores_only(test)}


def _asks_for_stores_only(test: Callable[..., Any]) -> bool:
    parameters = inspect.signature(test).parameters
    stores = {parameters[name].annotation for name in ("store", "other_store") if name in parameters}
    return stores == {Store} and not any(name.endswith("_url") for name in parameters)


for _module in (
    test_store_access,
    test_store_catalogue,
    test_store_enrolments,
    test_store_grants,
    test_store_handbacks,
    test_store_purge,
    test_store_records,
    test_store_rotations,
    test_store_transport_keys,
):
    globals().update(_of_the_port_alone(_module))
