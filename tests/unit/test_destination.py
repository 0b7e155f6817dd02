"""A request to a provider goes to public addresses, to networks that are allowed, and nowhere else."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.destination import private_network, refusal

INSIDE = (ip_network("10.20.0.0/16"), ip_network("fd12:3456::/32"))
METADATA = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"]


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        *METADATA,
        "::",
        "::1",
        "::7f00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00::1",
        "ff02::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "3fff::1",
        "5f00::1",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.0.0.1",
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert refusal(ip_address(address), (), local=False)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "140.82.112.3",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00:1450:4001:81b::200e",
        "2001:4860:4860::8888",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
    ],
)
def test_what_is_public_is_not(address: str) -> None:
    assert refusal(ip_address(address), (), local=False) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_for_providers_that_are_declared_to_be_on_it(address: str) -> None:
    assert refusal(ip_address(address), (), local=True) is None
    assert "insecure_local" in (refusal(ip_address(address), INSIDE, local=False) or "")


@pytest.mark.parametrize("address", ["10.20.30.40", "fd12:3456::1", "::ffff:10.20.0.1"])
def test_a_network_that_is_allowed_takes_requests_and_the_one_beside_it_takes_none(address: str) -> None:
    assert refusal(ip_address(address), INSIDE, local=False) is None
    for other in ("10.21.0.1", "192.168.0.1", "fd12:3457::1"):
        assert "DISPENSER_PRIVATE_NETWORKS" in (refusal(ip_address(other), INSIDE, local=False) or "")


@pytest.mark.parametrize("address", [*METADATA, "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"])
@pytest.mark.parametrize("local", [True, False])
def test_the_clouds_credentials_are_out_of_reach_whatever_is_allowed(address: str, local: bool) -> None:
    everything = tuple(ip_network(block) for block in ("0.0.0.0/0", "::/0"))
    assert refusal(ip_address(address), everything, local=local)


@given(st.ip_addresses(v=4), st.booleans())
def test_an_address_in_ipv6s_clothes_is_judged_as_the_one_it_is(address, local: bool) -> None:  # type: ignore[no-untyped-def]
    plain = refusal(address, INSIDE, local=local)
    assert refusal(ip_address(f"::ffff:{address}"), INSIDE, local=local) == plain
    assert refusal(ip_address("64:ff9b::") + int(address), INSIDE, local=local) == plain


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "192.168.3.0/24", "172.20.1.1", "100.64.0.0/10", "fd00::/8", "fc00::/7"]
)
def test_a_private_network_can_be_allowed(text: str) -> None:
    assert str(private_network(text)).startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ten",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "0.0.0.0/0",
        "::/0",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "8.8.8.0/24",
        "fe80::/10",
        "172.0.0.0/8",
        "::1",
    ],
)
def test_no_other_can(text: str) -> None:
    with pytest.raises(ValueError, match="network"):
        private_network(text)
