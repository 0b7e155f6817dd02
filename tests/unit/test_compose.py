"""What `compose.yaml` promises: health that is watched, no secret in the file, commands that exist."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dispenser.cli.app import app
from shared.settings import from_environment

SERVICES = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "token-dispenser"}
_REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
_PASSWORD_IN_URL = re.compile(r"://[^/@:]*:(.+)@")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"init"}))
def test_every_service_that_stays_has_a_health_check(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def _passwords(environment: dict[str, str]) -> list[str]:
    named = [value for name, value in environment.items() if re.search("PASS|AUTH|SECRET|TOKEN", name)]
    in_urls = [found[1] for value in environment.values() if (found := _PASSWORD_IN_URL.search(value))]
    return named + in_urls


@pytest.mark.parametrize("name", SERVICES)
def test_every_password_comes_from_the_environment_and_is_required(name):
    passwords = _passwords(SERVICES[name]["environment"])
    assert passwords
    assert all(_REQUIRED.fullmatch(password) for password in passwords)


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_the_dispenser_has(name):
    result = CliRunner().invoke(app, [*OURS[name]["command"], "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_that_the_dispenser_accepts(name):
    environment = {key: _REQUIRED.sub("secret", text) for key, text in OURS[name]["environment"].items()}
    environment["DISPENSER_PUBLIC_URL"] = "http://127.0.0.1:8250"
    settings = from_environment(environment, default_home=Path("/elsewhere"))
    assert settings.home == Path("/var/lib/dispenser")
    assert not settings.embedded


def test_keys_spool_and_journal_are_shared_through_one_volume():
    assert {tuple(service["volumes"]) for service in OURS.values()} == {("home:/var/lib/dispenser",)}
