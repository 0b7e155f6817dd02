"""How `compose.yaml` hands out the keyring, run as it stands there, with folders for volumes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import keyring

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
KEYS = yaml.safe_load(COMPOSE.read_text())["services"]["keys"]


class Machine:
    """What the service `keys` has: a home, and a folder for each role's part."""

    def __init__(self, folder: Path) -> None:
        self.home, self.parts = folder / "home", folder / "keys"
        program = folder / "bin" / "dispenser"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m dispenser "$@"\n')
        program.chmod(0o755)
        self._environment = os.environ | {
            "DISPENSER_HOME": str(self.home),
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        }

    def hand_out(self) -> None:
        """What the service runs. Compose makes one `$` of two."""
        *shell, script = (text.replace("$$", "$") for text in KEYS["entrypoint"])
        command = [*shell, script.replace('"/keys/', f'"{self.parts}/')]
        ended = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "keys.json").read_text())
        return found

    def part(self, role: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file(role).read_text())
        return found

    def file(self, role: str) -> Path:
        return self.parts / role / "keys.json"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Its keyring is made and handed out, in the place of what one role was given of an older one."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.file("serve").parent.mkdir(parents=True)
    machine.file("serve").write_text(json.dumps(keyring.for_role(keyring.generate(), "serve")))
    machine.hand_out()
    return machine


@pytest.mark.parametrize("role", keyring.ROLES)
def test_a_role_is_given_its_part_of_the_keyring(machine: Machine, role: str) -> None:
    assert machine.part(role) == keyring.for_role(machine.document(), role)


@pytest.mark.parametrize("role", keyring.ROLES)
def test_what_a_role_is_given_is_its_owners_alone(machine: Machine, role: str) -> None:
    assert stat.S_IMODE(machine.file(role).stat().st_mode) == 0o600


def test_refreshers_alone_can_open_grants(machine: Machine) -> None:
    able = {role for role in keyring.ROLES if keyring.parse(machine.file(role).read_text()).grant_private}
    assert able == {"refresher"}


def test_nobody_else_is_given_anything(machine: Machine) -> None:
    assert {folder.name for folder in machine.parts.iterdir()} == keyring.ROLES.keys()


def test_rabbitmq_finds_what_it_checks_vault_tokens_with(machine: Machine) -> None:
    signing = {entry["id"] for entry in machine.document()["keys"] if entry["use"] == "signing"}
    assert {file.stem for file in (machine.home / "rabbitmq").glob("*.pem")} == signing
