"""A vault token for a sub-agent, as the agent that asked for it holds it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from dispenser.client import credential
from dispenser.protocol import Reply


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ChildToken:
    """Its `value` is the sub-agent's VAULT_AGENT_TOKEN. Only `value` shows it."""

    value: str
    #: UTC; no renewal goes beyond the end of the vault token it came from.
    expires_at: datetime

    def __repr__(self) -> str:
        return f"ChildToken(expires_at={self.expires_at.isoformat()})"


def from_reply(reply: Reply) -> ChildToken:
    """The vault token in an `ok` reply. Raises: ValueError when there is none."""
    held = credential.read(reply.access_token or "")
    if held.expires_at is None:
        raise ValueError("it has no end (`exp`)")
    return ChildToken(value=held.text, expires_at=datetime.fromtimestamp(held.expires_at, UTC))
