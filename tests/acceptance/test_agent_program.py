"""An agent's program as its author writes it, in a folder with packages of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio
import shared, workers  # the author's own
from dispenser import Vault

async def main():
    async with Vault() as vault:
        token = await vault.token("time-tracker", min_ttl=60)
        print(token.service, shared.MINE, workers.MINE, token.value in repr(token))

asyncio.run(main())
"""


@pytest.mark.usefixtures("vault_server")
def test_an_agent_with_shared_and_workers_packages_of_its_own_gets_its_token(tmp_path: Path) -> None:
    for package in ("shared", "workers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "agent.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, "agent.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["time-tracker", "True", "True", "False"]
