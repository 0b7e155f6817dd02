"""What a server process is told by its environment. All mistakes are named at once, before connecting."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from shared.destination import Network, private_network
from shared.errors import ConfigurationError
from shared.tls import vouched
from shared.topology import RPC_QUEUE

MEMORY_URL = "memory://"
DEFAULT_PUBLIC_URL = "http://127.0.0.1:8250"
DEFAULT_VAULT_NAME = "vault"
DEFAULT_LOG_LEVEL = "info"
DEFAULT_MAX_REQUESTS_PER_SECOND = 10_000
DEFAULT_MAX_CONCURRENCY = 1000
_BROKER_SCHEMES = ("memory", "amqp", "amqps")
_CACHE_SCHEMES = (
    "memory",
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_DATABASE_SCHEMES = ("sqlite", "postgresql")
_KEYS = re.compile(r"\{|file:.|env:.")
#: `password`, `sentinel_password`, `sslpassword`, … with their values.
_PASSWORD_ARGUMENT = re.compile(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A server's settings. URLs may hold passwords: no `repr` shows them, and `redacted` is for showing."""

    #: State folder: keys, SQLite file, spool, audit journal.
    home: Path
    broker_url: str = field(default=MEMORY_URL, repr=False)
    cache_url: str = field(default=MEMORY_URL, repr=False)
    database_url: str = field(default="", repr=False)
    #: Who vouches for RabbitMQ, Redis and PostgreSQL, in PEM. Empty: whom this machine trusts.
    ca_file: str = ""
    #: Who vouches for providers besides the public authorities, in PEM. Empty: nobody.
    provider_ca_file: str = ""
    #: Where agents' owners reach the gateway, for connect addresses in replies.
    public_url: str = field(default=DEFAULT_PUBLIC_URL, repr=False)
    #: The vault's name: audience and issuer of vault tokens.
    vault_name: str = DEFAULT_VAULT_NAME
    log_level: str = DEFAULT_LOG_LEVEL
    #: Where the keyring lies: `file:PATH`, `env:VARIABLE`, or the keyring itself. Empty: a file in the home.
    keys: str = field(default="", repr=False)
    #: Who wraps the keyring, as `NAME:ARGUMENT`. Empty: nobody.
    key_provider: str = ""
    #: Where providers may be besides the public internet: an identity provider of the operator's own.
    private_networks: tuple[Network, ...] = ()
    #: Calls that one agent may begin in a second, in each dispenser, unless it is declared otherwise.
    max_requests_per_second: int = DEFAULT_MAX_REQUESTS_PER_SECOND
    #: Calls that one agent may have in hand at once, in each dispenser, unless it is declared otherwise.
    max_concurrency: int = DEFAULT_MAX_CONCURRENCY

    #: The queue that dispensers take requests from: one of several, where requests are spread over shards.
    request_queue: str = RPC_QUEUE
    #: Days for which audit records are kept. 0: for ever.
    audit_days: int = 0

    @property
    def embedded(self) -> bool:
        """Everything has to run in one process: the bus is its memory."""
        return self.broker_url == MEMORY_URL

    def redacted(self) -> dict[str, str]:
        """Every setting as text, passwords left out."""
        shown = {
            setting.name: _without_password(_text(getattr(self, setting.name))) for setting in fields(self)
        }
        return shown | {"keys": "***" if self.keys.startswith("{") else self.keys}


def from_environment(environment: Mapping[str, str], *, default_home: Path) -> Settings:
    """Settings from `DISPENSER_*` variables. Raises: ConfigurationError with every mistake."""
    home = Path(environment.get("DISPENSER_HOME") or default_home).expanduser().absolute()
    networks, mistakes = _networks(environment.get("DISPENSER_PRIVATE_NETWORKS", ""))
    settings = Settings(
        home=home,
        broker_url=environment.get("DISPENSER_BROKER_URL") or MEMORY_URL,
        cache_url=environment.get("DISPENSER_CACHE_URL") or MEMORY_URL,
        database_url=environment.get("DISPENSER_DATABASE_URL") or f"sqlite:///{home / 'dispenser.db'}",
        ca_file=environment.get("DISPENSER_CA_FILE", "").strip(),
        provider_ca_file=environment.get("DISPENSER_PROVIDER_CA_FILE", "").strip(),
        public_url=(environment.get("DISPENSER_PUBLIC_URL") or DEFAULT_PUBLIC_URL).rstrip("/"),
        vault_name=environment.get("DISPENSER_VAULT_NAME") or DEFAULT_VAULT_NAME,
        log_level=(environment.get("DISPENSER_LOG_LEVEL") or DEFAULT_LOG_LEVEL).lower(),
        keys=environment.get("DISPENSER_KEYS", "").strip(),
        key_provider=environment.get("DISPENSER_KEY_PROVIDER", "").strip(),
        private_networks=networks,
        max_requests_per_second=_count(
            environment, "DISPENSER_MAX_REQUESTS_PER_SECOND", DEFAULT_MAX_REQUESTS_PER_SECOND
        ),
        max_concurrency=_count(environment, "DISPENSER_MAX_CONCURRENCY", DEFAULT_MAX_CONCURRENCY),
        request_queue=environment.get("DISPENSER_REQUEST_QUEUE") or RPC_QUEUE,
        audit_days=_count(environment, "DISPENSER_AUDIT_DAYS", 0),
    )
    mistakes += _mistakes(settings)
    if not settings.audit_days and environment.get("DISPENSER_AUDIT_DAYS"):
        mistakes.append("DISPENSER_AUDIT_DAYS: a whole number from 1; left out, records are kept for ever.")
    if mistakes:
        raise ConfigurationError(mistakes)
    return replace(
        settings,
        broker_url=vouched(settings.broker_url, settings.ca_file),
        cache_url=vouched(settings.cache_url, settings.ca_file),
        database_url=vouched(settings.database_url, settings.ca_file),
    )


def _mistakes(settings: Settings) -> list[str]:
    found = [
        *_url_mistakes("DISPENSER_BROKER_URL", settings.broker_url, _BROKER_SCHEMES),
        *_url_mistakes("DISPENSER_CACHE_URL", settings.cache_url, _CACHE_SCHEMES),
        *_url_mistakes("DISPENSER_DATABASE_URL", settings.database_url, _DATABASE_SCHEMES),
        *_url_mistakes("DISPENSER_PUBLIC_URL", settings.public_url, ("http", "https")),
    ]
    if settings.keys and not _KEYS.match(settings.keys):
        # Not shown: it may be a keyring that was cut.
        found.append("DISPENSER_KEYS: file:PATH, env:VARIABLE, or what `dispenser keys export` printed.")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        found.append("DISPENSER_LOG_LEVEL: one of debug, info, warning, error.")
    if not settings.max_requests_per_second:
        found.append("DISPENSER_MAX_REQUESTS_PER_SECOND: a whole number from 1.")
    if not settings.max_concurrency:
        found.append("DISPENSER_MAX_CONCURRENCY: a whole number from 1.")
    return found


def _networks(text: str) -> tuple[tuple[Network, ...], list[str]]:
    """Networks separated by commas or spaces, and what is wrong with any."""
    found: list[Network] = []
    mistakes: list[str] = []
    for written in text.replace(",", " ").split():
        try:
            found.append(private_network(written))
        except ValueError as error:
            mistakes.append(f"DISPENSER_PRIVATE_NETWORKS: {written}: {error}.")
    return tuple(found), mistakes


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    """0 for what is no number from 1."""
    text = environment.get(name) or str(default)
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _url_mistakes(name: str, url: str, schemes: tuple[str, ...]) -> list[str]:
    # The value is not shown: it may be a password, put into the wrong variable or not escaped.
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        return [f"{name}: its scheme must be one of {', '.join(schemes)}, as in {schemes[-1]}://…"]
    try:
        urlsplit(url)
    except ValueError:
        return [f"{name}: not an address; a password's special characters are written as %5B and the like."]
    return []


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_password(text: str) -> str:
    """Whatever lies between the user and the last `@` is the password, escaped as it should be or not."""
    scheme, separator, rest = _PASSWORD_ARGUMENT.sub(r"\1***", text).partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{colon and ':***'}{at}{place}"
