"""The examples in tests/vectors/sealed-session.json, from fixed entropy.

Write them anew with `python tests/sealed_session_vectors.py > tests/vectors/sealed-session.json`.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

import independent_client
from builders import NOW, VAULT, an_identity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import agent_key, keyset, opening, sealed_frame, sealed_session, transport_key
from dispenser.keyset import PublicKey
from dispenser.opening import Opened
from dispenser.place import Place
from dispenser.protocol import Code, Reply, Request, TokenCall, encode_replies, encode_request
from dispenser.sealed_frame import Kind
from dispenser.sealed_session import SealedSession
from dispenser.transport_key import begins_at
from dispenser.vault_token import mint
from shared.keyring import Keyring

FILE = Path(__file__).parent / "vectors" / "sealed-session.json"
PLACE = Place(
    vhost="vault",
    queue="vault.rpc.token",
    user="tracker",
    reply_to=f"vault.reply.tracker.{'0123456789abcdef' * 2}",
)
SENT_AT = NOW.timestamp()


def entropy(name: str, size: int = 32) -> bytes:
    """As good as random, and always the same."""
    return hashlib.shake_256(f"token-dispenser test vector: {name}".encode()).digest(size)


def vectors() -> dict[str, Any]:
    signer, agent = (
        Ed25519PrivateKey.from_private_bytes(entropy(name)) for name in ("signing key", "agent's key")
    )
    day, _ = transport_key.wanted(NOW)
    transport = transport_key.from_material(day, entropy("transport key", 64))
    identity = an_identity(key=agent_key.thumbprint(agent.public_key()))
    keys = Keyring(primary={"signing": "0" * 16}, signing_private={"0" * 16: signer})
    token = mint(keys, identity, vault=VAULT)
    published = PublicKey(
        id=transport.id,
        public=transport.public,
        begins_at=begins_at(day).timestamp(),
        ends_at=begins_at(day + 1).timestamp(),
    )
    shown = {"v": 1, "token": token, "secret": entropy("secret"), "sent_at": SENT_AT}
    open_body = independent_client.opening(
        {"id": transport.id, "public": transport.public},
        PLACE.octets,
        shown,
        entropy("ephemeral key"),
        agent.private_bytes_raw(),
    )
    derived = sealed_session.derived(entropy("secret"), open_body)
    session = SealedSession(derived)
    # Opaque to agents: what dispensers put into it is no part of the specification.
    ticket = entropy("ticket", 240)
    life_seconds = (identity.expires_at - NOW).total_seconds()
    opened_plain = opening.encode_opened(Opened(ticket=ticket, life_seconds=life_seconds))
    opening_id = sealed_frame.identifier(open_body)
    calls = (TokenCall(service="time-tracker", min_ttl=60.0, scopes=("tasks:write",), purpose="log a task"),)
    request_plain = encode_request(Request(calls=calls, sent_at=SENT_AT, deadline_seconds=10.0))
    request = session.seal_request(ticket, PLACE, request_plain, entropy("request's nonce", 12))
    reply = Reply(
        code=Code.OK, service="time-tracker", access_token="at-example", token_type="Bearer", generation=7
    )
    replies_plain = encode_replies([(0, reply)])
    request_id = sealed_frame.identifier(request)
    texts: dict[str, Any] = {
        "about": "docs/sealed-session.md; octets in hexadecimal; `keys` are of both ends, made up for this",
        "now": SENT_AT,
        "place": {"vhost": PLACE.vhost, "user": PLACE.user, "reply_to": PLACE.reply_to},
        "vault_token": token,
    }
    octets = {
        "keys": {
            "vault_signing_private": signer.private_bytes_raw(),
            "agent_private": agent.private_bytes_raw(),
            "transport_private": transport.private.private_bytes_raw(),
            "transport_public": transport.public,
            "hpke_ephemeral_private": entropy("ephemeral key"),
            "session_secret": entropy("secret"),
            "request_key": derived.request_key,
            "reply_key": derived.reply_key,
        },
        "keyset": {"body": keyset.encode([published], [signer])},
        "opening": {"body": open_body},
        "opened": {
            "body": session.seal_answer(Kind.OPENED, opening_id, opened_plain, entropy("opened's nonce", 12)),
            "plain": opened_plain,
        },
        "request": {"body": request, "plain": request_plain},
        "replies": {
            "body": session.seal_answer(
                Kind.REPLIES, request_id, replies_plain, entropy("replies' nonce", 12)
            ),
            "plain": replies_plain,
        },
        "refusal": {"body": sealed_frame.refusal(sealed_frame.Refused.UNKNOWN_TICKET)},
    }
    shown_as = {name: {n: value.hex() for n, value in parts.items()} for name, parts in octets.items()}
    shown_as["opening"]["correlation_id"] = opening_id
    shown_as["request"]["correlation_id"] = request_id
    return texts | shown_as


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2))
