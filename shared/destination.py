"""Where a request to a provider may go, so that no address that a file or an answer names reaches a network's
inside (server-side request forgery, OWASP API7:2023).

Judged are the addresses a name leads to, at the moment of connecting: what a URL looks like tells nothing.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Where clouds keep the credentials of the machine itself: in no network that can be allowed.
_METADATA: Final = frozenset({"169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"})
#: IANA's registry of special addresses (RFC 6890), as far as nobody's provider can be there.
_SPECIAL: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
#: RFC 1918, RFC 6598, RFC 4193.
_PRIVATE: Final = tuple(
    ip_network(block)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
#: All that IPv6 has given out (RFC 4291 §2.4), and what of it leads elsewhere: protocol assignments with
#: Teredo, documentation, 6to4.
_UNICAST: Final = IPv6Network("2000::/3")
_SPECIAL_6: Final = tuple(
    IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
#: An IPv4 address behind a translator (RFC 6052 §2.1): how an IPv6-only network sees most of the world.
_NAT64: Final = IPv6Network("64:ff9b::/96")


def private_network(text: str) -> Network:
    """A network that providers may be in though it is not public. Raises: ValueError, for people."""
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("a network is written as 10.20.0.0/16 or fd12:3456::/32") from None
    if not any(network.version == block.version and network.subnet_of(block) for block in _PRIVATE):  # type: ignore[arg-type]
        raise ValueError("only networks for private use can be allowed (RFC 1918, RFC 4193, RFC 6598)")
    return network


def refusal(address: Address, networks: Sequence[Network], *, local: bool) -> str | None:
    """Why no request goes to an address. None: it may. `networks` are private ones that are allowed; `local`
    allows this very machine."""
    plain = _unwrapped(address)
    if str(plain) in _METADATA:
        return "an address where clouds keep credentials"
    if plain.is_loopback:
        return None if local else "this very machine, which takes `insecure_local: true`"
    if _public(plain) or any(plain in network for network in networks if network.version == plain.version):
        return None
    return "no public address; where a provider is in a private network, DISPENSER_PRIVATE_NETWORKS allows it"


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, as systems connect to it."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL)
    return address in _UNICAST and not any(address in block for block in _SPECIAL_6)
