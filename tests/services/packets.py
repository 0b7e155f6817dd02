"""What goes over this machine's own network, as its root may listen to it (packet(7)).

Run as `packets.py FOLDER PORT...`, it says when it listens, and listens until its standard input closes. What
each connection carried either way is put together in a file of the folder, so that a secret of which two
packets hold a part each is found there.
"""

import contextlib
import ctypes
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

MISSING = "packets are captured by root, on Linux"
_LISTENS = "listens"
#: Between the ports in a file's name.
_TO = "-to-"
_LARGEST_PACKET = 1 << 17
#: For what comes in while this process waits for the processor.
_BUFFER_BYTES = 1 << 28
# Of linux/if_ether.h, linux/if_packet.h and asm-generic/socket.h; `socket` has no names for them.
_IPV4, _SOL_PACKET, _STATISTICS, _ATTACH_FILTER, _BUFFER_FORCED = 0x0800, 263, 6, 26, 33
_TCP = 6


def can_capture() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM).close()
    except (AttributeError, PermissionError):
        return False
    return True


@contextmanager
def captured(folder: Path, urls: Iterable[str]) -> Iterator[None]:
    """All that goes to and from the servers at these URLs is in the folder afterwards: see `at_port`."""
    folder.mkdir()
    ports = [str(urlsplit(url).port) for url in urls]
    command = [sys.executable, __file__, str(folder), *ports]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline().strip() == _LISTENS
        try:
            yield
        finally:
            lost, _ = listener.communicate()
        assert int(lost) == 0, f"{lost} packets were lost: nobody knows what they held"


def at_port(folder: Path, url: str) -> list[Path]:
    """What was captured of one server's connections, each way of each a file."""
    port = str(urlsplit(url).port)
    return [file for file in sorted(folder.iterdir()) if port in file.name.split(_TO)]


class _Streams:
    """The bytes of each connection and direction, as they were sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[str, int] = {}

    def take(self, packet: bytes) -> None:
        """A packet of TCP over IPv4 (RFC 791 §3.1, RFC 9293 §3.1)."""
        (length,) = struct.unpack_from(">H", packet, 2)
        at = _after_ip(packet)
        source, target, sequence = struct.unpack_from(">HHI", packet, at)
        sent = packet[at + (packet[at + 12] >> 4) * 4 : length]
        name = f"{source}{_TO}{target}"
        # What is sent again is not to come between two halves of a secret.
        repeated = (self._ends.get(name, sequence) - sequence) % 2**32
        if len(sent) <= repeated < 2**31:
            return
        with (self._folder / name).open("ab") as file:
            file.write(sent[repeated:] if repeated < len(sent) else sent)
        self._ends[name] = (sequence + len(sent)) % 2**32


def _after_ip(packet: bytes) -> int:
    return (packet[0] & 15) * 4


def _listen(folder: Path, ports: Sequence[int]) -> None:
    streams = _Streams(folder)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as packets:
        packets.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCED, _BUFFER_BYTES)
        _keep_to(packets, ports)
        packets.bind(("lo", _IPV4))
        print(_LISTENS, flush=True)
        while sys.stdin not in select.select([packets, sys.stdin], [], [])[0]:
            streams.take(packets.recv(_LARGEST_PACKET))
        # What was sent before is here by now.
        packets.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                streams.take(packets.recv(_LARGEST_PACKET))
        _, lost = struct.unpack("II", packets.getsockopt(_SOL_PACKET, _STATISTICS, 8))
    print(lost)


def _keep_to(packets: socket.socket, ports: Sequence[int]) -> None:
    """Have the kernel leave out whatever else goes over the network: it may be much (bpf(4))."""
    load_byte, load_half_after_x, header_to_x = 0x30, 0x48, 0xB1
    equal, give = 0x15, 0x06
    count = len(ports)
    program = [
        (load_byte, 0, 0, 9),
        (equal, 0, 2 * count + 3, _TCP),
        (header_to_x, 0, 0, 0),
        (load_half_after_x, 0, 0, 0),
        *((equal, 2 * count - at + 1, 0, port) for at, port in enumerate(ports)),
        (load_half_after_x, 0, 0, 2),
        *((equal, count - at, 0, port) for at, port in enumerate(ports)),
        (give, 0, 0, 0),
        (give, 0, 0, _LARGEST_PACKET),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    told = struct.pack("HP", len(program), ctypes.addressof(code))
    packets.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, told)


if __name__ == "__main__":
    _listen(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]])
