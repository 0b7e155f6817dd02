"""Where a message travels: what is sealed for one place opens at no other."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

#: As many places as agents of one process, or so: a request costs microseconds, and spelling is some of them.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A way from an agent to the dispensers and back."""

    vhost: str
    #: The dispensers'.
    queue: str
    #: The agent's user at the broker, which the broker vouches for.
    user: str
    #: The queue that the answer goes to.
    reply_to: str

    @property
    def octets(self) -> bytes:
        """Its parts with their lengths before them, so that no two places are spelled alike."""
        return _spelled(self.vhost, self.queue, self.user, self.reply_to)


def vhost_of(url: str) -> str:
    """The virtual host in a broker's URL; `/` where it names none (https://www.rabbitmq.com/docs/uri-spec)."""
    return unquote(urlsplit(url).path[1:]) or "/"


@lru_cache(maxsize=_REMEMBERED)
def _spelled(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(struct.pack(">I", len(part)) + part for part in encoded)
