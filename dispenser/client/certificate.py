"""Whom an agent believes that it talks to the vault."""

import os
import ssl
from typing import Final

from dispenser.client.errors import Misconfigured

VARIABLE: Final = "VAULT_CA_FILE"
#: X.509 verification results (OpenSSL, X509_V_ERR_*).
_EXPIRED: Final = frozenset({9, 10})
_OTHER_NAME: Final = frozenset({62, 64})


def authority(file: str | os.PathLike[str]) -> ssl.SSLContext:
    """Trust in the certificate authorities of a PEM file alone. Raises: Misconfigured."""
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise Misconfigured(f"{VARIABLE} names a file that holds no certificate in PEM.") from None
    except OSError as error:
        raise Misconfigured(f"{VARIABLE} names a file that cannot be read: {error.strerror}.") from None


def mistrust(error: BaseException) -> Misconfigured | None:
    """What is wrong with the certificate that was shown. None: the error is not about one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if cause.verify_code in _OTHER_NAME:
        return Misconfigured(
            "The vault's certificate is for another name than VAULT_URL has, so this may not be the vault:"
            " write the name that its certificate is for."
        )
    if cause.verify_code in _EXPIRED:
        return Misconfigured("The vault's certificate is not of today: have it renewed, or set this clock.")
    return Misconfigured(
        "The vault's certificate is signed by nobody that is trusted here:"
        f" name the file of its certificate authority in {VARIABLE}."
    )
