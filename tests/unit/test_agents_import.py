"""What an agent's process carries for `from dispenser import Vault`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SERVER = {
    "shared",
    "workers",
    "sqlalchemy",
    "fastapi",
    "redis",
    "pydantic",
    "structlog",
    "typer",
    "rich",
    "uvicorn",
}


def test_the_client_loads_nothing_of_the_server():
    program = "import sys; from dispenser import Vault; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "dispenser" in loaded
    assert loaded & _SERVER == set()
