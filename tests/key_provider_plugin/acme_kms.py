"""A key management service as another package would offer it, for tests alone."""

from hashlib import sha256


class AcmeKms:
    """Hides bytes under a name. No cryptography: what is tested is how the vault calls it."""

    def __init__(self, argument: str) -> None:
        self._mask = sha256(argument.encode()).digest()

    def wrap(self, keyring: bytes) -> bytes:
        return self._masked(sha256(keyring).digest() + keyring)

    def unwrap(self, wrapped: bytes) -> bytes:
        digest, keyring = (opened := self._masked(wrapped))[:32], opened[32:]
        if sha256(keyring).digest() != digest:
            raise ValueError(f"not under this key: {keyring!r}")  # a message that would tell too much
        return keyring

    def _masked(self, content: bytes) -> bytes:
        return bytes(byte ^ self._mask[i % 32] for i, byte in enumerate(content))


def key_provider(argument: str) -> AcmeKms:
    if not argument:
        raise ValueError("CANARY: a message that might tell a secret")
    return AcmeKms(argument)
