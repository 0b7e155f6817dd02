"""Settings come from the environment, tell all their mistakes at once, and never show a password."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError
from shared.settings import Settings, from_environment

HOME = Path("/var/lib/dispenser")
CANARY = "s3cret-CANARY"


def settings(**variables: str) -> Settings:
    named = {f"DISPENSER_{name.upper()}": value for name, value in variables.items()}
    return from_environment(named, default_home=HOME)


def test_without_an_environment_everything_is_embedded() -> None:
    assert settings().embedded
    assert settings().database_url == "sqlite:////var/lib/dispenser/dispenser.db"
    assert settings().public_url == "http://127.0.0.1:8250"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert settings(broker_url="", cache_url="", database_url="", home="") == settings()


def test_with_a_broker_nothing_has_to_be_in_one_process() -> None:
    assert not settings(broker_url="amqp://broker").embedded


def test_a_home_of_ones_own_holds_the_database_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert settings(home="~/vault").database_url == "sqlite:////home/ada/vault/dispenser.db"


def test_the_public_address_has_no_slash_at_its_end() -> None:
    assert settings(public_url="https://vault.example/").public_url == "https://vault.example"


def test_requests_are_taken_from_one_queue_or_from_a_shard_of_it() -> None:
    assert settings().request_queue == "vault.rpc.token"
    assert settings(request_queue="vault.rpc.token.3").request_queue == "vault.rpc.token.3"


def test_the_log_level_is_known_in_any_case() -> None:
    assert settings(log_level="DEBUG").log_level == "debug"


def test_all_mistakes_are_named_at_once_and_no_value_is_shown() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        settings(
            broker_url=CANARY,
            cache_url=f"redis://:[{CANARY}@cache",
            database_url=f"mysql://u:{CANARY}@h/d",
            public_url=f"ftp://{CANARY}",
            log_level=CANARY,
            max_requests_per_second=CANARY,
            max_concurrency="0",
        )
    named = [mistake.partition(":")[0] for mistake in refusal.value.mistakes]
    variables = (
        "BROKER_URL", "CACHE_URL", "DATABASE_URL", "PUBLIC_URL", "LOG_LEVEL",
        "MAX_REQUESTS_PER_SECOND", "MAX_CONCURRENCY",
    )  # fmt: skip
    assert named == [f"DISPENSER_{variable}" for variable in variables]
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqps://user:CANARY@broker/vault", "amqps://user:***@broker/vault"),
        ("redis://:CANARY@cache/0", "redis://:***@cache/0"),
        ("redis+sentinel://u:CANARY@a:26379,b:26379/main", "redis+sentinel://u:***@a:26379,b:26379/main"),
        ("rediss+cluster://:CANARY@[::1]:6379,b:6379", "rediss+cluster://:***@[::1]:6379,b:6379"),
        (
            "redis+sentinel://a/m?sentinel_password=CANARY&db=1",
            "redis+sentinel://a/m?sentinel_password=***&db=1",
        ),
        ("redis://cache:6379/0?password=CAN@ARY", "redis://cache:6379/0?password=***"),
        ("postgresql://h/d?user=u&PassWord=CANARY", "postgresql://h/d?user=u&PassWord=***"),
        ("postgresql://h/d?sslkey=k&sslpassword=CANARY", "postgresql://h/d?sslkey=k&sslpassword=***"),
        ("amqp://broker/vault", "amqp://broker/vault"),
        ("amqp://user@broker/vault", "amqp://user@broker/vault"),
        ("sqlite:////home/ada@work/vault.db", "sqlite:////home/ada@work/vault.db"),
        ("memory://", "memory://"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert Settings(home=HOME, cache_url=url).redacted()["cache_url"] == shown


@given(st.text(min_size=1).map(lambda text: f"CANARY{text}CANARY"))
def test_a_password_does_not_show_though_its_special_characters_were_not_escaped(password: str) -> None:
    shown = Settings(home=HOME, broker_url=f"amqp://user:{password}@broker/vault").redacted()["broker_url"]
    assert "CANARY" not in shown


@pytest.mark.parametrize("name", ["broker_url", "cache_url", "database_url", "public_url"])
def test_no_password_shows_in_a_repr(name: str) -> None:
    assert CANARY not in repr(Settings(home=HOME, **{name: f"amqp://u:{CANARY}@h"}))


def test_networks_of_providers_are_read_and_shown() -> None:
    settings = from_environment(
        {"DISPENSER_PRIVATE_NETWORKS": "10.20.0.0/16, fd12::/16 192.168.7.9"}, default_home=Path("/h")
    )
    assert settings.redacted()["private_networks"] == "10.20.0.0/16, fd12::/16, 192.168.7.9/32"


def test_every_network_that_cannot_be_allowed_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({"DISPENSER_PRIVATE_NETWORKS": "10.0.0.0/8,8.8.8.0/24,x"}, default_home=Path("/h"))
    assert [mistake.split(":")[1] for mistake in caught.value.mistakes] == [" 8.8.8.0/24", " x"]
