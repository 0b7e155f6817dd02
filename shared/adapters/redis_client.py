"""A Redis client from a URL: one server, a Sentinel's current primary, or a Cluster.

    redis[s]://[user:password@]host[:port][/db]
    redis[s]+sentinel://[user:password@]host[:port],host[:port]…/service[/db][?sentinel_password=…]
    redis[s]+cluster://[user:password@]host[:port],host[:port]…

User and password are Redis's own; `ssl_ca_certs=…` and redis-py's other options go into the query.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError  # noqa: A004 - the driver's own

from shared.errors import ConfigurationError

Client = Redis | RedisCluster

#: Seconds. A cache slower than this is worth no waiting for: the truth is in SQL.
TIMEOUT_SECONDS: Final = 1.0
_RETRIES: Final = 2
_DEFAULT_PORTS: Final = {"sentinel": 26379, "cluster": 6379}


class _Address(NamedTuple):
    host: str
    port: int


def client(url: str) -> Client:
    """A client for the URL; it connects when it is first used. Raises: ConfigurationError."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    try:
        if kind == "sentinel":
            return _sentinel(parts, scheme)
        if kind == "cluster":
            return _cluster(parts, scheme)
        return Redis.from_url(url, **_patience())
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            [f"DISPENSER_CACHE_URL: not a Redis URL ({type(error).__name__})."]
        ) from None


async def close(redis: Client) -> None:
    """Disconnect, from the Sentinels too."""
    await redis.aclose()
    pool = getattr(redis, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def _patience() -> dict[str, Any]:
    """Short waits, and another try where a connection broke; who was slow once is not asked again."""
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.02), _RETRIES, supported_errors=(ConnectionError,)),
    }


def _sentinel(parts: SplitResult, scheme: str) -> Redis:
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigurationError(
            ["DISPENSER_CACHE_URL: name the service, as in redis+sentinel://host/mymaster/0."]
        )
    options = _options(parts, scheme, path=f"/{db}")
    sentinel_options = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in list(options)
        if name.startswith("sentinel_")
    }
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    watchers = Sentinel(  # type: ignore[no-untyped-call]
        _addresses(parts, "sentinel"),
        sentinel_kwargs={**_patience(), **tls, **sentinel_options},
        **_patience(),
        **options,
    )
    primary: Redis = watchers.master_for(service)
    return primary


def _cluster(parts: SplitResult, scheme: str) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in _addresses(parts, "cluster")]
    return RedisCluster(startup_nodes=nodes, **_patience(), **_options(parts, scheme, path=""))


def _options(parts: SplitResult, scheme: str, *, path: str) -> dict[str, Any]:
    """Credentials, TLS and query options, read by redis-py's own rules from a URL with one host."""
    credentials, at, _ = parts.netloc.rpartition("@")
    options: Mapping[str, Any] = parse_url(f"{scheme}://{credentials}{at}{path}?{parts.query}")
    chosen = {
        name: value for name, value in options.items() if name not in ("connection_class", "host", "port")
    }
    return chosen | ({"ssl": True} if scheme == "rediss" else {})


def _addresses(parts: SplitResult, kind: str) -> list[_Address]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    each = [urlsplit(f"//{host}") for host in hosts]
    return [_Address(one.hostname or "localhost", one.port or _DEFAULT_PORTS[kind]) for one in each]
