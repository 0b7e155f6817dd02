"""What `import dispenser` loads, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = {
    *(
        "aiosqlite",
        "alembic",
        "fastapi",
        "jinja2",
        "joserfc",
        "prometheus_client",
        "pydantic",
        "redis",
        "rich",
    ),
    *("sqlalchemy", "starlette", "structlog", "typer", "uvicorn", "uvloop", "yaml", "shared", "workers"),
}
LOADED = "import sys; print(end=chr(0)); print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def loaded(script: str, *, cwd: Path = ROOT) -> set[str]:
    """The top-level modules in a fresh process after a script."""
    run = subprocess.run(
        [sys.executable, "-c", f"{script}\n{LOADED}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(cwd), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.rpartition("\0")[2].split())


USED = """
import asyncio
from dispenser import Vault
async def used():
    async with Vault({url!r}, "e30.eyJzdWIiOiJhIn0.s"):
        pass
asyncio.run(used())
"""


def test_importing_the_client_loads_no_transport() -> None:
    found = loaded("from dispenser import Vault, Token, ReauthorizationRequired, VaultError")
    assert found.isdisjoint({"aio_pika", "aiormq", "httpx", "cryptography", *SERVER})


@pytest.mark.parametrize(
    ("url", "used", "unused"),
    [
        ("amqp://guest:guest@127.0.0.1:1", "aio_pika", {"httpx", *SERVER}),
        # httpx loads rich itself where it is installed, for a command line of its own.
        ("http://127.0.0.1:1", "httpx", {"aio_pika", *SERVER} - {"rich"}),
    ],
    ids=["amqp", "http"],
)
def test_a_vault_loads_its_own_transport_and_no_servers_library(
    url: str, used: str, unused: set[str]
) -> None:
    found = loaded(USED.format(url=url))
    assert used in found
    assert found.isdisjoint(unused)


WEB_SERVER = {"fastapi", "starlette", "uvicorn", "jinja2"}
# Not pydantic, which typer loads itself, to read a command's arguments.
DRIVERS = {"aio_pika", "aiosqlite", "alembic", "cryptography", "httpx", "redis", "sqlalchemy"}
COMMAND = """
import sys
from dispenser.cli.app import app
try:
    app({arguments!r})
except SystemExit as ended:
    assert ended.code == {code}, ended.code
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["--version"], 0), ([], 2), (["no-such-command"], 2)], ids=str
)
def test_the_command_line_tells_of_itself_without_what_its_commands_need(
    arguments: list[str], code: int
) -> None:
    found = loaded(COMMAND.format(arguments=arguments, code=code))
    assert found.isdisjoint({*WEB_SERVER, *DRIVERS, "workers"})


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("serve", {*WEB_SERVER, "httpx", "workers"}),
        ("gateway", {"workers"}),
        ("work", {*WEB_SERVER, "prometheus_client"}),
    ],
)
def test_a_process_loads_nothing_that_only_another_needs(module: str, unneeded: set[str]) -> None:
    assert loaded(f"import dispenser.cli.{module}").isdisjoint(unneeded)


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1", "http://127.0.0.1:1"])
def test_an_agents_own_folders_of_our_names_do_no_harm(tmp_path: Path, url: str) -> None:
    for name in ("shared", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            "raise RuntimeError('the agent has a folder of that name')"
        )
    assert "dispenser" in loaded(USED.format(url=url), cwd=tmp_path)
