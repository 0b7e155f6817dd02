"""What `compose.yaml` promises: health that is watched, no secret in the file, commands that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dispenser.cli.app import app
from shared.keyring import ROLES
from shared.settings import from_environment

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "token-dispenser"}
#: The services that are processes of the vault, and their roles.
PROCESSES = {"dispenser": "serve"} | {role: role for role in ("gateway", "refresher", "scheduler", "janitor")}
_HOME = "/var/lib/dispenser"
_AUDIT, _SPOOL, _CHECKPOINTS = (f"{name}:{_HOME}/{name}" for name in ("audit", "spool", "checkpoints"))
_WHOLE_KEYRING = {f"home:{_HOME}", f"broker:{_HOME}/rabbitmq"}
MOUNTS = {
    "keys": {*_WHOLE_KEYRING, *(f"keys-{role}:/keys/{role}" for role in ROLES)},
    "init": {*_WHOLE_KEYRING, _AUDIT, _SPOOL, _CHECKPOINTS},
    "dispenser": {"keys-serve:/keys/serve:ro", _AUDIT},
    "gateway": {"keys-gateway:/keys/gateway:ro", _AUDIT},
    "refresher": {"keys-refresher:/keys/refresher:ro", _AUDIT, _SPOOL},
    "scheduler": {"keys-scheduler:/keys/scheduler:ro"},
    "janitor": {"keys-janitor:/keys/janitor:ro", _AUDIT, _CHECKPOINTS},
}
_REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
_PASSWORD_IN_URL = re.compile(r"://[^/@:]*:(.+)@")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"init", "keys"}))
def test_every_service_that_stays_has_a_health_check(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


_MADE = re.compile(
    r"for \w+ in ([\w ]+); do \\\n"
    r"\s+install --directory --mode=700 --owner=10001 --group=dispenser (/\S+)/\$\w+; done"
)


def _volumes(name: str) -> set[str]:
    return {volume.split(":")[0] for volume in SERVICES[name].get("volumes", ())}


def _passwords(environment: dict[str, str]) -> list[str]:
    named = [value for name, value in environment.items() if re.search("PASS|AUTH|SECRET|TOKEN", name)]
    in_urls = [found[1] for value in environment.values() if (found := _PASSWORD_IN_URL.search(value))]
    return named + in_urls


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"keys"}))
def test_every_password_comes_from_the_environment_and_is_required(name):
    passwords = _passwords(SERVICES[name]["environment"])
    assert passwords
    assert all(_REQUIRED.fullmatch(password) for password in passwords)


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"keys"}))
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


@pytest.mark.parametrize("name", OURS)
def test_a_process_mounts_what_it_needs_and_nothing_else(name):
    assert set(OURS[name]["volumes"]) == MOUNTS[name]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_holds_the_keys_of_its_role_alone_and_cannot_change_them(name):
    role = PROCESSES[name]
    keys = [volume for volume in OURS[name]["volumes"] if volume.startswith(("keys-", "home:"))]
    assert keys == [f"keys-{role}:/keys/{role}:ro"]
    assert OURS[name]["environment"]["DISPENSER_KEYS"] == f"file:/keys/{role}/keys.json"


def test_no_server_sees_more_of_ours_than_the_public_keys():
    ours = {volume.split(":")[0] for service in OURS.values() for volume in service["volumes"]}
    seen = {name: _volumes(name) & ours for name in SERVICES.keys() - OURS.keys()}
    assert seen == {"rabbitmq": {"broker"}, "redis": set(), "postgres": set()}


def test_every_volume_is_declared():
    named = {volume for name in SERVICES for volume in _volumes(name) if not volume.startswith(".")}
    assert named == COMPOSE["volumes"].keys()


def test_a_new_volume_of_ours_belongs_to_the_user_of_the_image():
    """Docker gives it the owner that its folder has in the image, and root where there is none."""
    mounted = {volume.split(":")[1] for service in OURS.values() for volume in service["volumes"]}
    dockerfile = (ROOT / "Dockerfile").read_text()
    made = {f"{place}/{name}" for names, place in _MADE.findall(dockerfile) for name in names.split()}
    assert "--uid 10001 --create-home --home-dir /var/lib/dispenser dispenser" in dockerfile
    assert mounted == made | {"/var/lib/dispenser"}


@pytest.mark.parametrize(
    ("name", "role"),
    [("init", "operator"), *PROCESSES.items()],
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
