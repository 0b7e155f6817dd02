"""Secrets are read from where files say they lie, or every one that is not there is named."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dispenser.declared import parse
from dispenser.secret_sources import read_secrets
from shared.errors import ConfigurationError
from shared.model import ProviderSecrets
from shared.secret import Secret

CANARY = "s3cr3t-canary-value"
TEXT = """\
providers:
  p:
    token_url: https://p.example/token
    authorization_url: https://p.example/authorize
    client_id: c
    client_secret: [{env: NEW}, {file: secrets/old}]
  q:
    grant: client_credentials
    token_url: https://p.example/token
    client_id: c
    client_auth: private_key_jwt
    private_key: {file: secrets/key.pem}
  r: {grant: static}
"""


@pytest.fixture
def declared_file(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "vault.yaml").write_text(TEXT)
    return tmp_path / "vault.yaml"


@pytest.fixture
def pem() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_files_are_found_beside_the_declared_file_and_lose_their_last_newline(
    declared_file: Path, pem: str
) -> None:
    (declared_file.parent / "secrets/old").write_text("old\r\n")
    (declared_file.parent / "secrets/key.pem").write_text(pem)
    declarations = parse({str(declared_file): TEXT})
    assert read_secrets(declarations, {"NEW": "new"}) == {
        "p": ProviderSecrets(client_secrets=(Secret("new"), Secret("old"))),
        "q": ProviderSecrets(private_key=Secret(pem.rstrip("\n"))),
    }


def test_everything_that_is_missing_is_named_at_once(declared_file: Path) -> None:
    (declared_file.parent / "secrets/key.pem").write_text(CANARY)
    with pytest.raises(ConfigurationError) as caught:
        read_secrets(parse({str(declared_file): TEXT}), {})
    assert caught.value.mistakes == (
        (
            f"{declared_file}:6: providers.p.client_secret[0]: the environment variable NEW is not set: "
            "set it and apply again"
        ),
        (
            f"{declared_file}:6: providers.p.client_secret[1]: the file named here cannot be read "
            "(no such file or directory); a relative path starts at the declared file's folder"
        ),
        f"{declared_file}:12: providers.q.private_key: not a private key in PEM without a passphrase",
    )


@pytest.mark.parametrize("content", [b"\n", b"", b"\xff\xfe" + CANARY.encode()])
def test_an_empty_or_unreadable_secret_is_refused_and_not_told(declared_file: Path, content: bytes) -> None:
    (declared_file.parent / "secrets/old").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_secrets(parse({str(declared_file): TEXT}), {"NEW": ""})
    empty, unreadable, _ = caught.value.mistakes
    assert empty.endswith("providers.p.client_secret[0]: the secret named here is empty")
    assert f"{declared_file}:6: providers.p.client_secret[1]: " in unreadable
    assert CANARY not in str(caught.value)
