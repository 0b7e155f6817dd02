"""No token leaves without its record, at whatever step the process that wrote it is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from integration.audit_desk import AuditDesk

from dispenser.audit_review import Review
from shared.adapters.sql.store import SqlStore

#: `make soak` asks for thousands.
RUNS = int(os.environ.get("DISPENSER_TEST_KILLS", "40"))


@pytest.mark.timeout(max(600, RUNS))
def test_every_token_that_an_agent_received_is_in_the_audit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "integration.audit_killed", str(tmp_path), "1", str(RUNS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=max(500, RUNS),
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == RUNS, done.stderr
    assert [run for run in runs if run["missing"]] == []
    assert {run["code"] for run in runs} <= {0, -signal.SIGKILL}, done.stderr
    killed = [run for run in runs if run["code"] != 0]
    assert len(killed) > RUNS / 2
    assert any(run["received"] > 0 for run in killed)
    print(f"{len(killed)} of {RUNS} runs were killed, {sum(run['received'] for run in runs)} tokens received")

    review = asyncio.run(reviewed(tmp_path))
    assert review.fault is None
    assert review.records == review.signed >= sum(run["received"] for run in runs)
    assert list((tmp_path / "audit").glob("*.jsonl")) == []


async def reviewed(folder: Path) -> Review:
    desk = AuditDesk(SqlStore.open(f"sqlite:///{folder / 'vault.db'}"), folder)
    try:
        await desk.signed()
        return await desk.review()
    finally:
        await desk.store.close()
