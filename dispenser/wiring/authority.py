import ssl

from shared.errors import ConfigurationError


def require(ca_file: str, variable: str = "DISPENSER_CA_FILE") -> None:
    """Certificates lie in the file, where one is named. Raises: ConfigurationError.

    At the start: each driver would find it by itself, at its first connection and again at every other.
    """
    if not ca_file:
        return
    try:
        ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigurationError([f"{variable}: the file holds no certificate in PEM."]) from None
    except OSError as error:
        raise ConfigurationError([f"{variable}: cannot be read ({error.strerror})."]) from None
