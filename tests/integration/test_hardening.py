"""A process of the vault leaves no secret behind: not in a core dump, a log line or its last words."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CANARY = "c4nary-0123456789abcdef"
JWT = f"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ0In0.{CANARY}"


def run(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A program of its own, whose parent allows it to dump core."""

    def allow() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=allow,
    )


def test_a_process_of_the_vault_can_leave_no_core_and_no_file_for_others() -> None:
    script = """
import asyncio, ctypes, json, os, resource
from dispenser.wiring.process import run
async def main(): pass
run(main())
print(json.dumps({
    "limits": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),  # PR_GET_DUMPABLE
    "umask": os.umask(0),
}))
"""
    ended = run(script)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"limits": [0, 0], "dumpable": 0, "umask": 0o077}


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_writes_no_core(number: signal.Signals, tmp_path: Path) -> None:
    """The kernel tells a parent whether its child's core was written (wait(2))."""
    script = """
import os, sys
from dispenser.wiring.hardening import harden
child = os.fork()
if child == 0:
    harden()
    os.kill(os.getpid(), int(sys.argv[1]))
status = os.waitpid(child, 0)[1]
print(os.WTERMSIG(status), os.WCOREDUMP(status))
"""
    ended = run(script, str(number.value), cwd=tmp_path)
    assert ended.stdout.split() == [str(number.value), "False"], ended.stderr
    assert list(tmp_path.iterdir()) == []


LOGGING = """
import asyncio, logging, sys, threading
import structlog
from shared.secret import Secret
from shared.telemetry import configure

configure("debug")
canary, jwt = sys.argv[1:]
log = structlog.get_logger()
"""


@pytest.mark.parametrize(
    "said",
    [
        "log.debug('Token', token=Secret(canary))",
        "log.info('Found', values=[Secret(canary), {'a': Secret(canary)}])",
        "log.info('Received', body=canary.encode(), nested=[canary.encode()])",
        "log.warning(f'refused access_token={canary}')",
        "log.warning('Asked', url=f'https://v/v1/connect/s?owner=a&ticket={canary}')",
        "log.warning('Asked', authorization=f'Bearer {canary}')",
        "log.warning('Identity', presented=jwt)",
        "log.warning('Down', url=f'amqp://vault:{canary}@rabbit/vault')",
        "log.warning('Broken', exc_info=ValueError(f'at refresh_token={canary}'))",
        "logging.getLogger('uvicorn.error').error('lost %s', jwt)",
        "logging.getLogger('asyncio').error('lost', exc_info=ValueError(f'Bearer {canary}'))",
        # What libraries write at debug level is not written at all, so that it needs no recognizing.
        "logging.getLogger('aiormq.connection').debug('Sending %r', canary)",
        "logging.getLogger('aio_pika.exchange').debug('Publishing %r', canary)",
        "logging.getLogger('httpx').info('HTTP Request: POST %s', canary)",
        "logging.getLogger('httpcore.http11').debug('headers %s', canary)",
        "logging.getLogger('sqlalchemy.engine.Engine').info('[generated] %s', canary)",
        "logging.getLogger('psycopg').debug('%s', canary)",
        "logging.getLogger('uvicorn.access').info('GET /v1?ticket=%s', canary)",
    ],
)
def test_a_line_shows_no_secret_at_debug_level(said: str) -> None:
    ended = run(f"{LOGGING}\n{said}", CANARY, JWT)
    assert ended.returncode == 0, ended.stderr
    assert CANARY not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "defect",
    [
        "local = canary; raise RuntimeError('a defect')",
        "raise RuntimeError(f'a defect at Bearer {canary}')",
        "raise RuntimeError('a defect') from ValueError(jwt)",
        """
def work():
    raise RuntimeError(f'a defect at refresh_token={canary}')
thread = threading.Thread(target=work); thread.start(); thread.join()""",
        """
async def main():
    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
async def work():
    raise RuntimeError(f'a defect at refresh_token={canary}')
asyncio.run(main())
import gc; gc.collect()""",
        """
try:
    raise RuntimeError('a defect')
except RuntimeError:
    local = canary
    log.exception('Failed')""",
    ],
)
def test_last_words_tell_of_the_defect_and_not_of_a_secret(defect: str) -> None:
    ended = run(f"{LOGGING}\n{defect}", CANARY, JWT)
    assert "a defect" in ended.stderr
    assert CANARY not in ended.stderr


def test_a_terminal_shows_no_local_variables() -> None:
    script = f"""
import sys
sys.stderr.isatty = lambda: True
{LOGGING}
try:
    local = canary
    raise RuntimeError('a defect')
except RuntimeError:
    log.exception('Failed')
"""
    ended = run(script, CANARY, JWT)
    assert "a defect" in ended.stderr
    assert CANARY not in ended.stderr


def test_its_memory_and_environment_are_closed_to_other_programs_of_its_user() -> None:
    """Root reads them all the same."""
    script = """
import ctypes, os, sys
from dispenser.wiring.hardening import harden
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as any program is that has changed no user
for hardened in (False, True):
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        if hardened:
            harden()
        os.write(ready[1], b"x")
        os.close(done[1])
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for part in ("mem", "environ"):
        try:
            with open(f"/proc/{child}/{part}", "rb"):
                print("open", end=" ")
        except PermissionError:
            print("closed", end=" ")
    os.close(done[1])
    os.waitpid(child, 0)
"""
    ended = run(script)
    _, environ, *hardened = ended.stdout.split()  # the kernel may close any program's memory (Yama)
    assert (environ, hardened) == ("open", ["closed", "closed"]), ended.stderr
