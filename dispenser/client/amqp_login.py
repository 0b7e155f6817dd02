"""With which user an agent logs in at RabbitMQ."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit, urlunsplit

from dispenser.client.credential import Credential

#: A connection fallen silent is given up after about three of these; the library's own 60 would be minutes.
HEARTBEAT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a connection is opened with."""

    url: str = field(repr=False)
    #: RabbitMQ's name for us: in `user_id` and in the reply queue's name.
    user: str
    #: The password is the vault token: it has to follow when that is renewed.
    by_vault_token: bool


def login(url: str, credential: Credential) -> Login:
    """The user and password in the URL, or else the agent with its vault token."""
    parts = urlsplit(url)
    if "heartbeat" not in parse_qs(parts.query):
        query = f"{parts.query}&" if parts.query else ""
        parts = parts._replace(query=query + urlencode({"heartbeat": HEARTBEAT_SECONDS}))
    if parts.username:
        return Login(url=urlunsplit(parts), user=unquote(parts.username), by_vault_token=False)
    host = parts.netloc.rpartition("@")[2]
    parts = parts._replace(netloc=f"{quote(credential.agent, safe='')}:{credential.text}@{host}")
    return Login(url=urlunsplit(parts), user=credential.agent, by_vault_token=True)
