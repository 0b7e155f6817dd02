"""A vault as it is run: real processes on real servers, started by the command line."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services import accounts
from services.accounts import as_role
from services.keeper import PID_FILE
from services.pool import FOLDER_VARIABLE
from services.server import Address, free_port, wait_until

from dispenser.wiring.keyfile import KeyFile
from shared.keyring import ROLES, for_role

COMMAND = (sys.executable, "-P", "-m", "dispenser")
#: What each process logs once it does its work.
READY = {
    "serve": "Serving agents over AMQP",
    "gateway": "Serving agents over HTTP",
    "work refresher": "Refreshing",
    "work scheduler": "Announcing",
    "work janitor": "Tidying",
}
STOP_SECONDS = 90.0


class Process:
    """One process of the vault; `kill` is SIGKILL, `stop` is SIGTERM, `suspend` is SIGSTOP."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        log: Path,
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self.arguments = arguments
        self._command = command
        self._environment = environment
        self._log = log
        self._record = Path(os.environ[FOLDER_VARIABLE]) / f"vault-{uuid.uuid4().hex}" / PID_FILE
        self._record.parent.mkdir()
        self.start()

    def start(self) -> None:
        """Start it, and return once it does its work."""
        offset = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *self.arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Its whole group, for the session's keeper: whatever happens to the tests, it ends with them.
        self._record.write_text(f"{-self._process.pid} {signal.SIGKILL:d}")
        ready = next(text for name, text in READY.items() if " ".join(self.arguments).startswith(name))
        wanted = int(self.arguments[-1]) if "--processes" in self.arguments else 1
        came = wait_until(
            lambda: self._said(offset).count(ready) >= wanted or self._process.poll() is not None
        )
        assert came, self._said(offset)[-2000:]
        assert self._process.poll() is None, self._said(offset)[-2000:]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._said(0)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._record.unlink(missing_ok=True)

    def crash(self, number: signal.Signals) -> bool:
        """End it as a defect would; whether its core was dumped, as the kernel tells a parent (wait(2))."""
        os.kill(self.pid, number)
        dumped = ended_with_core(self.pid)
        assert self._process.wait() == -number
        self._record.unlink(missing_ok=True)
        return dumped

    def suspend(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        code = self._process.wait(STOP_SECONDS)
        self._record.unlink(missing_ok=True)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        self._record.unlink(missing_ok=True)

    def _said(self, offset: int) -> str:
        with self._log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")


def ended_with_core(pid: int) -> bool:
    """Whether a child left its core, once it has ended; its end is still to be waited for."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return ended is not None and ended.si_code == os.CLD_DUMPED


def admit(rabbitmq: Address, *, broker: str, cache: str, database: str) -> None:
    """Let the vault's processes into the places that a test has. Harmless when repeated."""
    accounts.admit_to_rabbitmq(rabbitmq, broker)
    accounts.admit_to_redis(cache)
    if not database.startswith("sqlite"):
        accounts.admit_to_postgresql(database)


class Installation:
    """A home, its servers, and the processes started in it, each with its own role's accounts and keys."""

    def __init__(self, home: Path, *, broker: str, cache: str, database: str) -> None:
        """The URLs are those of an administrator: the test's own, and of agents in the simple mode."""
        self.home = home
        self.broker, self.cache, self.database = broker, cache, database
        self.gateway_port = free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISPENSER_", "VAULT_"))}
        self.environment = kept | {
            "DISPENSER_HOME": str(home / "vault"),
            "DISPENSER_PUBLIC_URL": f"http://127.0.0.1:{self.gateway_port}",
            **self._accounts("operator"),
        }
        self.processes: list[Process] = []

    def cli(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """A command, run to its end, whatever comes of it."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What a command prints that has to succeed."""
        ended = self.cli(*arguments, stdin=stdin, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.strip()

    def shown(self, *arguments: str) -> Any:
        """What a command says in JSON."""
        return json.loads(self.done(*arguments, "--json"))

    def start(self, *arguments: str, command: tuple[str, ...] = COMMAND, **environment: str) -> Process:
        """One of the vault's processes, with its role's accounts and keys, and no others."""
        log = self.home / f"{'-'.join(arguments)}-{len(self.processes)}.log"
        role = arguments[1] if arguments[0] == "work" else arguments[0]
        process = Process(arguments, self.environment | self.role(role) | environment, log, command)
        self.processes.append(process)
        return process

    def role(self, name: str) -> dict[str, str]:
        """What one role's processes are given."""
        self.export_keys(name)
        return {**self._accounts(name), "DISPENSER_KEYS": f"file:{self._keys_of(name)}"}

    def _accounts(self, role: str) -> dict[str, str]:
        return {
            "DISPENSER_BROKER_URL": as_role(self.broker, role),
            "DISPENSER_CACHE_URL": as_role(self.cache, role),
            "DISPENSER_DATABASE_URL": as_role(self.database, role),
        }

    def export_keys(self, *roles: str) -> None:
        """What `dispenser keys export --to` does, for these roles or for all."""
        document = json.loads((self.home / "vault" / "keys.json").read_text())
        for role in roles or ROLES:
            KeyFile(self._keys_of(role)).replace(json.dumps(for_role(document, role)))

    def _keys_of(self, role: str) -> Path:
        return self.home / "keys" / f"{role}.json"

    def declare(self, text: str, **secrets: str) -> None:
        """Set up, and apply a declared file."""
        file = self.home / "declared.yaml"
        file.write_text(text)
        self.done("init")
        self.done("apply", str(file), **secrets)

    def agent_token(self, agent: str, owner: str, ttl: str = "1h") -> str:
        return self.done("agent", "token", agent, "--owner", owner, "--ttl", ttl)

    def outlive_token(self, service: str, owner: str) -> None:
        """Return once the grant's token has ended."""
        ends = datetime.fromisoformat(
            self.shown("grant", "show", service, "--owner", owner)["token_expires_at"]
        )
        assert wait_until(lambda: datetime.now(UTC) > ends)

    def close(self) -> None:
        for process in self.processes:
            process.close()
