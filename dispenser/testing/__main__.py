import argparse
import json
import signal
from typing import Final

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

_SHOWN: Final = (
    "issuer",
    "authorization_url",
    "token_url",
    "revocation_url",
    "introspection_url",
    "api_url",
    "client_id",
    "client_secret",
)


def main() -> None:
    """Print where the emulator listens and serve until SIGTERM or Ctrl-C."""
    stops = {signal.SIGTERM, signal.SIGINT}
    # Blocked before any thread begins, so that each one inherits it and `sigwait` is where they arrive.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    arguments = _arguments()
    with Emulator(Behaviour(**arguments.behaviour), port=arguments.port) as emulator:
        shown = {name: getattr(emulator, name) for name in _SHOWN}
        lines = (
            [json.dumps(shown)] if arguments.json else [f"{name} {value}" for name, value in shown.items()]
        )
        print("\n".join(lines), flush=True)  # noqa: T201 - its whole purpose
        signal.sigwait(stops)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dispenser.testing",
        description="An OAuth 2.0 provider for tests. /_emulator/requests tells what it received; "
        "/_emulator/faults takes what goes wrong next.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument(
        "--behaviour", type=json.loads, default={}, help='as in \'{"rotates": true, "grace_seconds": 30}\''
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
