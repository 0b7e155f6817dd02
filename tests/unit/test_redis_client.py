"""A Redis URL says where and how, for one server, Sentinels and Clusters alike."""

import pytest
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from shared.adapters.redis_client import client
from shared.errors import ConfigurationError


def _options(url: str) -> dict:
    return client(url).connection_pool.connection_kwargs


async def test_a_plain_url_names_one_server():
    options = _options("redis://us%40er:p%2Fw@cache.example:6380/3")
    assert (options["host"], options["port"], options["db"]) == ("cache.example", 6380, 3)
    assert (options["username"], options["password"]) == ("us@er", "p/w")
    assert options["socket_timeout"] == options["socket_connect_timeout"] == 1


async def test_rediss_is_tls():
    assert client("rediss://cache.example").connection_pool.connection_class is SSLConnection


async def test_a_sentinel_url_names_the_watchers_and_the_service():
    redis = client("redis+sentinel://user:pw@one:1,two,[::1]:3/mymaster/2?sentinel_password=watch")
    pool = redis.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert (pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == (2, "pw")
    watchers = [watcher.connection_pool.connection_kwargs for watcher in pool.sentinel_manager.sentinels]
    assert [(watcher["host"], watcher["port"]) for watcher in watchers] == [
        ("one", 1),
        ("two", 26379),
        ("::1", 3),
    ]
    assert {watcher["password"] for watcher in watchers} == {"watch"}


async def test_a_sentinel_url_without_a_service_is_refused():
    with pytest.raises(ConfigurationError, match="name the service"):
        client("redis+sentinel://one")


async def test_a_cluster_url_names_nodes_to_start_from():
    redis = client("rediss+cluster://user:pw@one:1,two")
    assert isinstance(redis, RedisCluster)
    assert list(redis.nodes_manager.startup_nodes) == ["one:1", "two:6379"]


@pytest.mark.parametrize(
    "url",
    ["redis://secret@host:port/0", "redis+sentinel://:secret@a:x/service", "redis+cluster://:secret@a:x"],
)
async def test_a_bad_url_is_refused_without_being_shown(url):
    with pytest.raises(ConfigurationError) as refused:
        client(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
