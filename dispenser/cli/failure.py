"""How a command ends when it does not succeed: one sentence for people, a stable exit code for programs."""

from enum import IntEnum

from dispenser.client.errors import Misconfigured
from dispenser.client.errors import VaultError as ClientError
from shared.errors import ConfigurationError, VaultError


class Exit(IntEnum):
    """Exit codes, stable."""

    OK = 0
    USAGE = 2
    REFUSED = 3
    WORLD = 4


class Refused(Exception):
    """The vault could do it and will not. The message says why and what would help."""


class Usage(Exception):
    """What was asked for makes no sense. The message says what would."""


def exit_code(error: Exception) -> Exit | None:
    """The exit code for an error that was to be expected; None: it is a defect of ours."""
    match error:
        case Refused():
            return Exit.REFUSED
        case Usage() | ConfigurationError() | Misconfigured():
            return Exit.USAGE
        case VaultError():
            return Exit.WORLD
        case ClientError():
            return Exit.WORLD if error.retryable else Exit.REFUSED
        case OSError():
            return Exit.WORLD
        case _:
            return None


def explanation(error: Exception) -> str:
    """What happened, and what an error's kind means the operator should do next."""
    said = str(error)
    meaning = type(error).__doc__ if isinstance(error, VaultError) else None
    first = (meaning or "").strip().splitlines()[:1]
    lines = [said, *first] if said and said != "".join(first) else first or [said]
    # A person has to see it; a log, where an error's own message may end up, must not.
    if address := getattr(error, "connect_url", None):
        lines.append(f"Consent is given at {address}")
    return "\n".join(line for line in lines if line)
