"""What a server process is told by its environment. All mistakes are named at once, before connecting."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from shared.errors import ConfigurationError

MEMORY_URL = "memory://"
DEFAULT_PUBLIC_URL = "http://127.0.0.1:8250"
DEFAULT_VAULT_NAME = "vault"
DEFAULT_LOG_LEVEL = "info"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A server's settings. URLs may hold passwords: `redacted` is for showing."""

    #: State folder: keys, SQLite file, spool, audit journal.
    home: Path
    broker_url: str = MEMORY_URL
    cache_url: str = MEMORY_URL
    database_url: str = ""
    #: Where agents' owners reach the gateway, for connect addresses in replies.
    public_url: str = DEFAULT_PUBLIC_URL
    #: The vault's name: audience and issuer of vault tokens.
    vault_name: str = DEFAULT_VAULT_NAME
    log_level: str = DEFAULT_LOG_LEVEL

    @property
    def embedded(self) -> bool:
        """Everything has to run in one process: the bus is its memory."""
        return self.broker_url == MEMORY_URL

    def redacted(self) -> dict[str, str]:
        """Every setting as text, passwords left out."""
        return {field.name: _without_password(str(getattr(self, field.name))) for field in fields(self)}


def from_environment(environment: Mapping[str, str], *, default_home: Path) -> Settings:
    """Settings from `DISPENSER_*` variables. Raises: ConfigurationError with every mistake."""
    home = Path(environment.get("DISPENSER_HOME") or default_home).expanduser().absolute()
    settings = Settings(
        home=home,
        broker_url=environment.get("DISPENSER_BROKER_URL") or MEMORY_URL,
        cache_url=environment.get("DISPENSER_CACHE_URL") or MEMORY_URL,
        database_url=environment.get("DISPENSER_DATABASE_URL") or f"sqlite:///{home / 'dispenser.db'}",
        public_url=(environment.get("DISPENSER_PUBLIC_URL") or DEFAULT_PUBLIC_URL).rstrip("/"),
        vault_name=environment.get("DISPENSER_VAULT_NAME") or DEFAULT_VAULT_NAME,
        log_level=(environment.get("DISPENSER_LOG_LEVEL") or DEFAULT_LOG_LEVEL).lower(),
    )
    mistakes = _mistakes(settings)
    if mistakes:
        raise ConfigurationError(mistakes)
    return settings


def _mistakes(settings: Settings) -> list[str]:
    found = [
        *_scheme_mistakes("DISPENSER_BROKER_URL", settings.broker_url, _BROKER_SCHEMES),
        *_scheme_mistakes("DISPENSER_CACHE_URL", settings.cache_url, _CACHE_SCHEMES),
        *_scheme_mistakes("DISPENSER_DATABASE_URL", settings.database_url, _DATABASE_SCHEMES),
        *_scheme_mistakes("DISPENSER_PUBLIC_URL", settings.public_url, ("http", "https")),
    ]
    if settings.log_level not in ("debug", "info", "warning", "error"):
        found.append("DISPENSER_LOG_LEVEL: one of debug, info, warning, error.")
    return found


def _scheme_mistakes(name: str, url: str, schemes: tuple[str, ...]) -> list[str]:
    scheme = url.partition("://")[0]
    if "://" in url and scheme in schemes:
        return []
    # The value is not shown: it may be a password put into the wrong variable.
    return [f"{name}: its scheme must be one of {', '.join(schemes)}, as in {schemes[-1]}://…"]


def _without_password(text: str) -> str:
    parts = urlsplit(text)
    if "://" not in text or parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
