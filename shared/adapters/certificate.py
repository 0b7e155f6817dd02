"""Why a server's certificate was not believed."""

import ssl
from typing import Final

#: X.509 verification results (OpenSSL, X509_V_ERR_*).
_EXPIRED: Final = frozenset({9, 10})
_OTHER_NAME: Final = frozenset({62, 64})
OTHER_NAME: Final = "its certificate is for another name: write the name that it is for into the address"
EXPIRED: Final = "its certificate is not of today: have it renewed, or set this machine's clock"
_UNKNOWN: Final = (
    "its certificate is signed by nobody that is trusted here: name the file of its certificate authority in "
)
UNKNOWN: Final = f"{_UNKNOWN}DISPENSER_CA_FILE"
UNKNOWN_PROVIDER: Final = f"{_UNKNOWN}DISPENSER_PROVIDER_CA_FILE"


def mistrust(error: BaseException | None, *, unknown: str = UNKNOWN) -> str | None:
    """What is wrong with the certificate that was shown. None: the error is not about one.

    `unknown`: what is said where nobody vouches for it.
    """
    cause = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if cause.verify_code in _OTHER_NAME:
        return OTHER_NAME
    return EXPIRED if cause.verify_code in _EXPIRED else unknown


def libpq_mistrust(message: str) -> str | None:
    """The same of PostgreSQL's own client, which tells it in words alone (PostgreSQL, fe-secure-*.c)."""
    if "does not match host name" in message:
        return OTHER_NAME
    if "certificate has expired" in message:
        return EXPIRED
    return UNKNOWN if "certificate verify failed" in message else None
