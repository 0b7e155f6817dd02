"""An address of TLS gets the operator's certificate authority, and keeps what it says itself."""

import pytest

from shared.tls import vouched

FILE = "/etc/vault/ca.pem"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("amqps://u:p@h/v", "amqps://u:p@h/v?cafile=%2Fetc%2Fvault%2Fca.pem"),
        ("amqps://h/v?heartbeat=5", "amqps://h/v?cafile=%2Fetc%2Fvault%2Fca.pem&heartbeat=5"),
        ("rediss://h/0", "rediss://h/0?ssl_ca_certs=%2Fetc%2Fvault%2Fca.pem"),
        ("rediss+sentinel://h,i/m/0", "rediss+sentinel://h,i/m/0?ssl_ca_certs=%2Fetc%2Fvault%2Fca.pem"),
        ("rediss+cluster://h", "rediss+cluster://h?ssl_ca_certs=%2Fetc%2Fvault%2Fca.pem"),
        (
            "postgresql://u@h/d",
            "postgresql://u@h/d?sslrootcert=%2Fetc%2Fvault%2Fca.pem&sslmode=verify-full",
        ),
        (
            "postgresql://u@h/d?sslmode=verify-ca",
            "postgresql://u@h/d?sslrootcert=%2Fetc%2Fvault%2Fca.pem&sslmode=verify-ca",
        ),
    ],
)
def test_every_address_of_tls_names_who_vouches_for_it(url: str, wanted: str) -> None:
    assert vouched(url, FILE) == wanted
    assert vouched(wanted, "/another") == wanted


@pytest.mark.parametrize("url", ["memory://", "amqp://h/v", "redis://h", "redis+cluster://h", "sqlite:///f"])
def test_any_other_stays_as_it_is(url: str) -> None:
    assert vouched(url, FILE) == url


def test_without_an_authority_the_machines_own_count() -> None:
    assert vouched("amqps://h/v", "") == "amqps://h/v"
