"""The names that providers give their refusals, brought together under a few codes."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

#: Only the owner can help (RFC 6749 §5.2, and what GitHub, Slack, Microsoft and others say instead).
DEAD: Final = frozenset(
    {
        "invalid_grant",
        "bad_refresh_token",
        "invalid_refresh_token",
        "expired_refresh_token",
        "refresh_token_expired",
        "refresh_token_revoked",
        "token_expired",
        "token_revoked",
        "account_inactive",
        "interaction_required",
        "consent_required",
        "login_required",
        "bad_verification_code",
        "invalid_code",
        "code_already_used",
    }
)
#: Our registration at the provider is refused.
CLIENT_CONFIG: Final = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "incorrect_client_credentials",
        "invalid_client_id",
        "bad_client_secret",
        "application_suspended",
    }
)
RATE_LIMITED: Final = frozenset({"rate_limited", "ratelimited", "rate_limit_exceeded", "slow_down"})
#: The request itself is refused: what the service or provider is declared to ask for.
DECLARATION: Final = frozenset({"invalid_request", "invalid_scope", "invalid_target", "access_denied"})

# A code of the provider's own is kept where it cannot be a secret: lower-case words alone.
_UNKNOWN: Final = re.compile(r"[a-z]{2,20}(_[a-z]{2,20}){0,4}")
_WORD: Final = re.compile(r"[a-z_]+")
_DECLARED: Final = re.compile(r"[A-Za-z0-9_.-]+")
# Atlassian says `unauthorized_client` and Exact a sentence, and both mean the refresh token.
_DEAD_SENTENCE: Final = re.compile(
    r"refresh[ _]token\W.*\b(invalid|expired|revoked|used|not found|unknown)\b"
    r"|\b(invalid|expired|revoked|old|unknown) refresh[ _]token\b"
)


def find(fields: Mapping[str, Any], declared: Collection[str] = ()) -> str | None:
    """The code of a refusal, from wherever the provider has put it. None: there is none to be found.

    `declared`: codes of the provider's own, which go before all others.
    """
    sentence = fields.get("error_description")
    own = _declared([*_texts(fields), sentence], declared)
    if own is not None:
        return own
    if isinstance(sentence, str) and _DEAD_SENTENCE.search(sentence.lower()):
        return "invalid_grant"
    texts = [text.strip().lower() for text in _texts(fields)]
    return next((code for text in texts if (code := _known(text))), None) or next(
        (text for text in texts if _UNKNOWN.fullmatch(text)), None
    )


def _texts(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in ("error", "errors", "error_code", "errorCode", "code"):
        yield from _flattened(fields.get(name))


def _flattened(value: object) -> Iterator[str]:
    """Strings of a string, a list, or an object that describes an error; one level deep each."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        parts = [item.get(name) for name in ("code", "error", "type")] if isinstance(item, dict) else [item]
        yield from (part for part in parts if isinstance(part, str))


def _declared(texts: Iterable[object], declared: Collection[str]) -> str | None:
    """The code as it is declared: what an answer says in its place never gets further."""
    by_word = {code.lower(): code for code in declared}
    words = (word for text in texts if isinstance(text, str) for word in _DECLARED.findall(text.lower()))
    return next((by_word[word.rstrip(".")] for word in words if word.rstrip(".") in by_word), None)


def _known(text: str) -> str | None:
    """`invalid_grant - the token is gone` is `invalid_grant`."""
    known = DEAD | CLIENT_CONFIG | RATE_LIMITED | DECLARATION
    return next((word for word in _WORD.findall(text) if word in known), None)
