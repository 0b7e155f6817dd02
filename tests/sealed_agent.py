"""An agent's side of the sealed session, by hand: what travels, without the broker it travels over."""

import os
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import opening, protocol, sealed_frame, sealed_session
from dispenser.keyset import PublicKey
from dispenser.opening import Opened, Opening
from dispenser.place import Place
from dispenser.protocol import Call, Reply, Request
from dispenser.sealed_frame import NONCE_BYTES, Kind
from dispenser.sealed_session import SECRET_BYTES, SealedSession

PLACE = Place(vhost="/", queue="vault.rpc.token", user="tracker", reply_to=f"vault.reply.tracker.{'0' * 32}")


@dataclass
class SealedAgent:
    """Opens a session with `opening` and `hear`, then asks in it."""

    place: Place = PLACE
    key: Ed25519PrivateKey | None = None
    ticket: bytes = b""
    sealed: SealedSession = field(init=False)
    opened: str = ""

    def opening(self, vault_token: str, to: PublicKey, *, sent_at: float) -> bytes:
        shown = Opening(vault_token=vault_token, secret=os.urandom(SECRET_BYTES), sent_at=sent_at)
        body = opening.seal(shown, to.public, to.id, self.place, self.key)
        self.sealed = SealedSession(sealed_session.derived(shown.secret, body))
        self.opened = sealed_frame.identifier(body)
        return body

    def hear(self, answer: bytes) -> Opened | Reply:
        heard = opening.decode_answer(self.sealed.open_answer(Kind.OPENED, self.opened, answer))
        if isinstance(heard, Opened):
            self.ticket = heard.ticket
        return heard

    def request(self, *calls: Call, sent_at: float, deadline_seconds: float = 5.0) -> bytes:
        request = Request(calls=calls, sent_at=sent_at, deadline_seconds=deadline_seconds)
        return self.request_of(protocol.encode_request(request))

    def request_of(self, plain: bytes, **changes: Any) -> bytes:
        place = changes.get("place", self.place)
        return self.sealed.seal_request(self.ticket, place, plain, os.urandom(NONCE_BYTES))

    def replies(self, asked: str, answer: bytes) -> list[tuple[int, Reply]]:
        return protocol.decode_replies(self.sealed.open_answer(Kind.REPLIES, asked, answer))
