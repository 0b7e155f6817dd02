"""Proofs about the audit in the forms that others check without us."""

import base64
from collections.abc import Sequence


def inclusion_proof(line: bytes, index: int, path: Sequence[bytes], note: str) -> str:
    """That a record is in the audit: https://c2sp.org/tlog-proof, the record's line being its extra data."""
    return "\n".join(
        [
            "c2sp.org/tlog-proof@v1",
            f"extra {_base64(line)}",
            f"index {index}",
            *map(_base64, path),
            "",
            note,
        ]
    )


def consistency_proof(old_size: int, path: Sequence[bytes], note: str) -> str:
    """That an audit begins with an older one: what https://c2sp.org/tlog-witness takes to countersign."""
    return "\n".join([f"old {old_size}", *map(_base64, path), "", note])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
