from dataclasses import dataclass, field
from enum import StrEnum


class SealedColumn(StrEnum):
    """Where sealed values lie in the database: table and column."""

    PROVIDER_SECRETS = "providers.sealed_secrets"
    CREDENTIALS = "grants.sealed_credential"
    TOKENS = "grants.sealed_token"
    PARKED = "intents.parked"
    ENROLMENTS = "enrolments.sealed"
    VERIFIERS = "consents.sealed_verifier"
    TRANSPORT_KEYS = "transport_keys.sealed"
    HANDBACKS = "handbacks.sealed_credential"

    @property
    def use(self) -> str:
        """The use of the keys that the values are sealed with."""
        match self:
            case SealedColumn.TOKENS | SealedColumn.VERIFIERS:
                return "cache"
            case SealedColumn.TRANSPORT_KEYS:
                return "transport"
            case _:
                return "grant"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRow:
    """A sealed value where it lies."""

    column: SealedColumn
    #: Of the row, in its table.
    id: str | bytes | int
    sealed: bytes = field(repr=False)
    #: What of the row the envelope is bound to, in the order of sealing.
    bound_to: tuple[str, ...]
