"""What a newcomer types first, embedded and on real services."""

import subprocess

from acceptance.installation import COMMAND, Installation

CLAIMS = 6


def play(*options: str) -> str:
    ended = subprocess.run([*COMMAND, "demo", *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_demo_keeps_its_claims_embedded() -> None:
    shown = play()
    assert (shown.count("✓"), shown.count("✗")) == (CLAIMS, 0)


def test_the_demo_keeps_its_claims_on_real_services(installation: Installation) -> None:
    shown = play(
        *("--broker", installation.broker),
        *("--cache", installation.cache),
        *("--database", installation.database),
    )
    assert (shown.count("✓"), shown.count("✗")) == (CLAIMS, 0)
