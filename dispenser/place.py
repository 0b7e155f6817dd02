"""Where a message travels: what is sealed for one place opens at no other."""

import struct
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, kw_only=True)
class Place:
    """A way from an agent to the dispensers and back."""

    vhost: str
    #: The dispensers'.
    queue: str
    #: The agent's user at the broker, which the broker vouches for.
    user: str
    #: The queue that the answer goes to.
    reply_to: str

    @cached_property
    def octets(self) -> bytes:
        """Its parts with their lengths before them, so that no two places are spelled alike."""
        return b"".join(map(_part, (self.vhost, self.queue, self.user, self.reply_to)))


def vhost_of(url: str) -> str:
    """The virtual host in a broker's URL; `/` where it names none (https://www.rabbitmq.com/docs/uri-spec)."""
    return unquote(urlsplit(url).path[1:]) or "/"


def _part(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">I", len(encoded)) + encoded
