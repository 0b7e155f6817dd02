"""Checks a c2sp.org/tlog-proof with nothing of ours: `python proof_checker.py KEY < PROOF`."""

import base64
import hashlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def check(proof: str, verifier_key: str) -> bytes:
    head, text, signatures = proof.split("\n\n")
    magic, extra, index, *path = head.split("\n")
    assert magic == "c2sp.org/tlog-proof@v1"
    record, at = base64.b64decode(extra.removeprefix("extra ")), int(index.removeprefix("index "))
    name, key_id, key = verifier_key.split("+", 2)
    origin, size, root = text.split("\n")
    signature = base64.b64decode(signatures.split("\n")[0].removeprefix(f"— {name} "))
    assert (origin, signature[:4].hex()) == (name, key_id)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(signature[4:], f"{text}\n".encode())
    found, last = hashlib.sha256(b"\x00" + record).digest(), int(size) - 1
    for beside in map(base64.b64decode, path):  # RFC 9162 §2.1.3.2
        assert last > 0
        if at % 2 or at == last:
            found = hashlib.sha256(b"\x01" + beside + found).digest()
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + beside).digest()
        at, last = at // 2, last // 2
    assert (last, base64.b64encode(found).decode()) == (0, root)
    return record


if __name__ == "__main__":
    print(check(sys.stdin.read(), sys.argv[1]).decode())
