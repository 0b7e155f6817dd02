"""Addresses whose servers have to be vouched for by a certificate authority of the operator's own."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: What each driver calls the file, and that the name is to be looked at.
_ARGUMENTS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "amqps": ("cafile", {}),
    "rediss": ("ssl_ca_certs", {}),
    "rediss+sentinel": ("ssl_ca_certs", {}),
    "rediss+cluster": ("ssl_ca_certs", {}),
    # https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    "postgresql": ("sslrootcert", {"sslmode": "verify-full"}),
}


def vouched(url: str, ca_file: str) -> str:
    """The address with the authority's file, where its scheme is one of TLS; what it says itself counts."""
    parts = urlsplit(url)
    if not ca_file or parts.scheme not in _ARGUMENTS:
        return url
    file, others = _ARGUMENTS[parts.scheme]
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(query=urlencode({file: ca_file, **others} | said)))
