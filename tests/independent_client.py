"""An agent of another house: written from docs/sealed-session.md alone, with `cryptography` and msgpack."""

import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def place(vhost: str, user: str, reply_to: str) -> bytes:
    parts = (vhost.encode(), b"vault.rpc.token", user.encode(), reply_to.encode())
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def message_id(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:16]


def read_keyset(body: bytes, vault_token: str) -> list[dict]:
    assert body[:2] == b"\1\2"
    signers, statement = body[3 : 3 + 96 * body[2]], body[3 + 96 * body[2] :]
    signed, _, signature = vault_token.rpartition(".")
    key = Ed25519PublicKey.from_public_bytes(signers[:32])
    key.verify(urlsafe_b64decode(signature + "=="), signed.encode())
    key.verify(signers[32:96], b"token-dispenser keyset v1" + statement)
    return msgpack.unpackb(statement)["keys"]


def opening(key: dict, at: bytes, shown: dict, ephemeral: bytes, agent_key: bytes | None) -> bytes:
    bound, packed, proof = key["id"] + at, msgpack.packb(shown), b"\0"
    if agent_key is not None:
        signer = Ed25519PrivateKey.from_private_bytes(agent_key)
        signature = signer.sign(b"token-dispenser proof v1" + bound + packed)
        proof = b"\1" + signer.public_key().public_bytes_raw() + signature
    sealed = hpke_seal(key["public"], ephemeral, b"token-dispenser opening v1" + bound, proof + packed)
    return b"\1\3" + key["id"] + sealed


def session_keys(secret: bytes, opened_by: bytes) -> tuple[AESGCM, AESGCM]:
    keys = expand(extract(message_id(opened_by), secret), b"token-dispenser session keys v1", 64)
    return AESGCM(keys[:32]), AESGCM(keys[32:])


def request(key: AESGCM, ticket: bytes, at: bytes, nonce: bytes, calls: dict) -> bytes:
    header = b"\1\5" + struct.pack(">H", len(ticket)) + ticket
    return header + nonce + key.encrypt(nonce, msgpack.packb(calls), header + at)


def read_answer(key: AESGCM, asked: bytes, body: bytes) -> dict:
    return msgpack.unpackb(key.decrypt(body[2:14], body[14:], body[:2] + message_id(asked)))


def hpke_seal(public: bytes, ephemeral: bytes, info: bytes, plain: bytes) -> bytes:
    """RFC 9180 §4.1 (DHKEM), §5.1 (base mode), §5.2 (the first and only message)."""
    kem, suite = b"KEM\0\x20", b"HPKE\0\x20\0\1\0\2"
    key = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = key.public_key().public_bytes_raw()
    shared = key.exchange(X25519PublicKey.from_public_bytes(public))
    shared = labeled_expand(
        labeled_extract(b"", kem, b"eae_prk", shared), kem, b"shared_secret", enc + public, 32
    )
    hashes = [labeled_extract(b"", suite, *of) for of in ((b"psk_id_hash", b""), (b"info_hash", info))]
    secret, context = labeled_extract(shared, suite, b"secret", b""), b"\0" + b"".join(hashes)
    aead = AESGCM(labeled_expand(secret, suite, b"key", context, 32))
    return enc + aead.encrypt(labeled_expand(secret, suite, b"base_nonce", context, 12), plain, b"")


def labeled_extract(salt: bytes, suite: bytes, label: bytes, material: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + material)


def labeled_expand(key: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


def extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    blocks, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes((number,)), "sha256")
        blocks += block
    return blocks[:length]
