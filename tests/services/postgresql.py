"""PostgreSQL: a private server, and fresh databases."""

import os
import pwd
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from services.authority import Certificate
from services.container import Container
from services.process import Process
from services.server import START_SECONDS, Address, Server, ServerFailed, free_port, wait_until

IMAGE = "postgres:17"
DEBIAN_PACKAGE = "postgresql"
# Speed that costs no promise: a killed server loses no commit, only a killed kernel would.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=300", "unix_socket_directories=")
_LEFT_BY_THE_KILLED = "shared memory block"


def binary() -> str | None:
    """The newest `postgres` of this machine: Debian keeps its own beside the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return str(debian[-1]) if debian else shutil.which("postgres")


def private(folder: Path, *, tls: Certificate | None = None) -> Server:
    return PostgreSQLProcess(folder, tls=tls)


def contained(*, tls: Certificate | None = None) -> Server:
    port = free_port()
    environment = {"POSTGRES_HOST_AUTH_METHOD": "trust"}
    files = {f"/{name}": text for name, text in _tls_files(tls).items()}
    # The key has to be the server's own, whoever copied it in.
    own = "install -o postgres -m 600 /server.key /server.crt /var/lib/postgresql/"
    arguments = " ".join(_tls_arguments(Path("/var/lib/postgresql"), tls))
    command = ["sh", "-c", f"{own} && exec docker-entrypoint.sh postgres {arguments}"] if tls else None
    return Container(
        IMAGE,
        _address(port, tls),
        answers,
        ports={5432: port},
        environment=environment,
        command=command,
        files=files,
    )


def _address(port: int, tls: Certificate | None) -> Address:
    tls_url = f"postgresql://postgres@localhost:{port}/postgres" if tls else ""
    return Address(url=f"postgresql://postgres@127.0.0.1:{port}/postgres", tls_url=tls_url)


def _tls_files(tls: Certificate | None) -> dict[str, str]:
    return {} if tls is None else {"server.crt": tls.certificate, "server.key": tls.key}


def _tls_arguments(folder: Path, tls: Certificate | None) -> list[str]:
    if tls is None:
        return []
    return ["-cssl=on", f"-cssl_cert_file={folder / 'server.crt'}", f"-cssl_key_file={folder / 'server.key'}"]


class PostgreSQLProcess(Process):
    """A PostgreSQL on TCP alone, run by an ordinary user because it refuses root."""

    stop_signal = signal.SIGINT
    end_signal = signal.SIGQUIT  # SIGKILL would leave its System V shared memory behind

    def __init__(self, folder: Path, *, tls: Certificate | None = None) -> None:
        super().__init__(folder)
        self.user = _ordinary_user()
        self._port, self._tls = free_port(), tls
        self.address = _address(self._port, tls)

    def command(self) -> list[str]:
        settings = [f"-c{setting}" for setting in _SETTINGS] + _tls_arguments(self.folder, self._tls)
        return [_program("postgres"), "-D", str(self._data), "-h127.0.0.1", f"-p{self._port}", *settings]

    def ready(self) -> bool:
        return answers(self.address)

    def start(self) -> None:
        if not self._data.exists():
            self._initialize()
        # A killed server's children take a moment to notice, and hold its memory until then.
        if not wait_until(self._started, seconds=START_SECONDS):
            raise ServerFailed(self.log_tail())

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _started(self) -> bool:
        try:
            super().start()
        except ServerFailed as failure:
            if _LEFT_BY_THE_KILLED in str(failure):
                return False
            raise
        return True

    def _initialize(self) -> None:
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [_program("initdb"), f"--pgdata={self._data}", *options],
            cwd=self.folder,
            env=self.environment(),
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"initdb failed: {done.stderr}")
        if self._tls is not None:
            self._keep_others_to_tls()

    def _keep_others_to_tls(self) -> None:
        """Everybody but the tests themselves comes with TLS and a password."""
        for name, text in _tls_files(self._tls).items():
            file = self.folder / name
            file.touch(mode=0o600)
            file.write_text(text)
            if self.user is not None:
                shutil.chown(file, self.user)
        rules = "host all postgres all trust\nhostssl all all all scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(rules)


def answers(address: Address) -> bool:
    try:
        with psycopg.connect(address.url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def create_database(address: Address) -> str:
    """The URL of a new and empty database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(address.url)._replace(path=f"/{name}"))


def drop_database(address: Address, url: str) -> None:
    """Drop it, whoever may still be connected."""
    name = sql.Identifier(urlsplit(url).path[1:])
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _program(name: str) -> str:
    server = binary()
    return str(Path(server).with_name(name)) if server else name


def _ordinary_user() -> str | None:
    """`postgres` where we are root, ourselves otherwise."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"
