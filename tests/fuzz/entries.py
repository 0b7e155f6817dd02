"""What strangers, providers and people write, by the name of who reads it: nothing of it may surprise us.

An entry takes any bytes, and raises what its reader says it raises, or nothing. Anything else is a finding.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dispenser import declared, keyset, opening, protocol, sealed_frame
from dispenser.frame import MalformedFrame
from dispenser.keyset import Untrusted
from shared.errors import ConfigurationError
from shared.model import AnswerPath, ExpiryUnit, Provider, ProviderName
from workers import outcome
from workers.answer import Answer

SEEDS: Final = Path(__file__).with_name("seeds")
NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)
PROVIDERS: Final = (
    Provider(name=ProviderName("plain")),
    Provider(
        name=ProviderName("odd"),
        expires_in_unit=ExpiryUnit.MILLISECONDS,
        scope_separator=",",
        answer_path=AnswerPath(exchange="authed_user", refresh="data.token"),
    ),
)


def frame(data: bytes) -> None:
    """Whatever comes over the broker, to either side; what is read is written as it was read."""
    for read in (
        sealed_frame.kind,
        sealed_frame.read_opening,
        sealed_frame.read_request,
        sealed_frame.read_refusal,
        opening.decode_answer,
        protocol.decode_replies,
    ):
        with suppress(MalformedFrame):
            read(data)
    with suppress(MalformedFrame, Untrusted):
        keyset.verified(data, "a.b.c", NOW.timestamp())
    with suppress(MalformedFrame):
        request = protocol.decode_request(data)
        assert protocol.decode_request(protocol.encode_request(request)) == request


def token_answer(data: bytes) -> None:
    """A provider's answer: its status, what it says of waiting, and its body."""
    status, wait, body = int.from_bytes(data[:2], "big") % 600, data[2:34], data[34:]
    retry_after = wait.decode("latin-1").strip("\0 ") or None
    answer = Answer(status=status, retry_after=retry_after, body=body, sent_at=NOW)
    assert Answer.unpack(answer.pack()) == answer
    for provider in PROVIDERS:
        for code_exchange in (False, True):
            read = outcome.read(answer, provider, NOW, code_exchange=code_exchange)
            assert isinstance(read, outcome.Issued | outcome.Refused)
            if isinstance(read, outcome.Refused):
                # It is kept in the database and shown to people.
                assert read.code.isascii()
                assert len(read.code) < 100


def policy_file(data: bytes) -> None:
    """A declared file. Its mistakes are named, and none of them shows what was written."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    mistakes = ("a.yaml:",)
    try:
        declared.parse({"a.yaml": text})
    except ConfigurationError as error:
        mistakes = error.mistakes
    assert mistakes
    assert all(mistake.startswith("a.yaml:") for mistake in mistakes)


ENTRIES: Final[Mapping[str, Callable[[bytes], None]]] = {
    "frame": frame,
    "token_answer": token_answer,
    "policy_file": policy_file,
}


def answer(status: int, fields: object, retry_after: str = "") -> bytes:
    """A seed for `token_answer`."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return status.to_bytes(2, "big") + retry_after.encode().ljust(32) + body
