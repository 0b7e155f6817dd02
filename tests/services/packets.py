"""What goes over this machine's own network, as tcpdump sees it: by root, where it is installed."""

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from services.server import wait_until

MISSING = "packets are captured by root with tcpdump: install it"


def can_capture() -> bool:
    return shutil.which("tcpdump") is not None and os.geteuid() == 0


@contextmanager
def captured(file: Path, urls: Iterable[str]) -> Iterator[None]:
    """All packets from and to the servers at these URLs are in the file afterwards."""
    ports = [urlsplit(url).port or 0 for url in urls]
    wanted = " or ".join(f"tcp port {port}" for port in ports)
    options = ["--immediate-mode", "-s", "0", "-U", "-B", "65536", "-Z", "root"]
    command = ["tcpdump", "-i", "lo", *options, "-w", str(file), wanted]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as capture:
        try:
            assert wait_until(lambda: file.exists() and file.stat().st_size > 0)
            yield
            # Packets are written in their order: after this one, all are there.
            with socket.create_connection(("127.0.0.1", ports[0])) as last:
                sign = struct.pack(">HH", last.getsockname()[1], ports[0])
                assert wait_until(lambda: sign in file.read_bytes()[-100_000:])
        finally:
            capture.terminate()
