"""What `compose.yaml` promises: health that is watched, no secret in the file, commands that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dispenser.cli.app import app
from shared.settings import from_environment

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "token-dispenser"}
_REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
_PASSWORD_IN_URL = re.compile(r"://[^/@:]*:(.+)@")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"init", "keys"}))
def test_every_service_that_stays_has_a_health_check(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def _passwords(environment: dict[str, str]) -> list[str]:
    named = [value for name, value in environment.items() if re.search("PASS|AUTH|SECRET|TOKEN", name)]
    in_urls = [found[1] for value in environment.values() if (found := _PASSWORD_IN_URL.search(value))]
    return named + in_urls


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"keys"}))
def test_every_password_comes_from_the_environment_and_is_required(name):
    passwords = _passwords(SERVICES[name]["environment"])
    assert passwords
    assert all(_REQUIRED.fullmatch(password) for password in passwords)


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_the_dispenser_has(name):
    result = CliRunner().invoke(app, [*OURS[name]["command"], "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"keys"}))
def test_the_environment_is_one_that_the_dispenser_accepts(name):
    environment = {key: _REQUIRED.sub("secret", text) for key, text in OURS[name]["environment"].items()}
    environment["DISPENSER_PUBLIC_URL"] = "http://127.0.0.1:8250"
    settings = from_environment(environment, default_home=Path("/elsewhere"))
    assert settings.home == Path("/var/lib/dispenser")
    assert not settings.embedded


def test_keys_spool_and_journal_are_shared_through_one_volume_that_no_server_sees():
    home = "home:/var/lib/dispenser"
    assert {tuple(service["volumes"]) for service in OURS.values()} == {
        (home, "broker:/var/lib/dispenser/rabbitmq")
    }
    for server in SERVICES.keys() - OURS.keys():
        assert not any(volume.startswith("home:") for volume in SERVICES[server]["volumes"])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("init", "operator"),
        ("dispenser", "serve"),
        *((role, role) for role in ("gateway", "refresher", "scheduler", "janitor")),
    ],
)
def test_every_process_logs_in_everywhere_with_its_own_accounts(name, role):
    urls = [
        value for key, value in OURS[name]["environment"].items() if re.search("BROKER|CACHE|DATABASE", key)
    ]
    logins = {re.search(r"://(\w+):\$\{([A-Z]+)_(\w+)_PASSWORD", url).groups() for url in urls}
    assert logins == {(f"vault_{role}", server, role.upper()) for server in ("RABBITMQ", "REDIS", "POSTGRES")}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("rabbitmq", "rabbitmq/definitions.json"),
        ("redis", "redis/users.acl"),
        ("postgres", "postgresql/roles.sql"),
    ],
)
def test_a_server_is_given_the_passwords_of_its_accounts_alone(name, file):
    placeholders = set(re.findall(r"\$\{(\w+)\}", (ROOT / "deploy" / file).read_text()))
    given = SERVICES[name]["environment"].keys() - {"REDISCLI_AUTH", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    assert placeholders == given


def test_make_env_makes_every_password_that_is_wanted(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "env"], cwd=tmp_path, check=True, capture_output=True)
    made = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    wanted = set(re.findall(r"\$\{(\w+):\?run make env first\}", (ROOT / "compose.yaml").read_text()))
    assert made.keys() == wanted
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
