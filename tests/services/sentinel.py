"""A primary Redis, its replica, and the Sentinel that puts one in the other's place."""

from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from services.process import Process
from services.redis import RedisProcess, binary
from services.server import free_port, wait_until

SERVICE: Final = "vault"
#: Milliseconds without an answer after which the primary counts as down.
_DOWN_AFTER: Final = 300
_FAILOVER: Final = 3000


class SentinelProcess(Process):
    """One that needs nobody's vote."""

    def __init__(self, folder: Path, primary_port: int) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._file = folder / "sentinel.conf"  # which it writes to by itself
        self._file.write_text(
            f"bind 127.0.0.1\nport {self.port}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER}\n"
            f"sentinel failover-timeout {SERVICE} {_FAILOVER}\n"
        )

    def command(self) -> list[str]:
        return [binary() or "redis-server", str(self._file), "--sentinel"]

    def ready(self) -> bool:
        """It knows a replica that may take over."""
        with Redis(port=self.port, socket_timeout=2) as sentinel:
            try:
                [replica] = sentinel.sentinel_slaves(SERVICE)
            except (RedisError, ValueError):
                return False
        return replica["master-link-status"] == "ok"


class WatchedRedis:
    """All three. `folder` has to be there already."""

    def __init__(self, folder: Path) -> None:
        self.primary, self.replica = RedisProcess(folder / "primary"), RedisProcess(folder / "replica")
        self._sentinel = SentinelProcess(folder / "sentinel", self.primary.port)
        self.url = f"redis+sentinel://127.0.0.1:{self._sentinel.port}/{SERVICE}/0"

    def start(self) -> None:
        self.primary.start()
        self.replica.start()
        with Redis.from_url(self.primary.url) as primary, Redis.from_url(self.replica.url) as replica:
            primary.config_set("repl-diskless-sync-delay", 0)  # it would wait for more replicas
            replica.replicaof("127.0.0.1", self.primary.port)
            assert wait_until(lambda: replica.info("replication")["master_link_status"] == "up")
        self._sentinel.start()

    def close(self) -> None:
        for server in (self._sentinel, self.primary, self.replica):
            server.close()
