import ssl

from shared.errors import ConfigurationError


def require(ca_file: str) -> None:
    """Certificates lie in the file, where one is named. Raises: ConfigurationError.

    At the start: each driver would find it by itself, at its first connection and again at every other.
    """
    if not ca_file:
        return
    try:
        ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigurationError(["DISPENSER_CA_FILE: the file holds no certificate in PEM."]) from None
    except OSError as error:
        raise ConfigurationError([f"DISPENSER_CA_FILE: cannot be read ({error.strerror})."]) from None
