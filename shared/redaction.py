"""Takes secrets out of text that is about to be logged.

The second line of defence: secrets travel as `Secret`, which shows nothing. This one is for what others
write: libraries' lines, exceptions' messages, URLs.
"""

import re
from typing import Final

REMOVED: Final = "[removed]"
#: What a secret stands behind, in JSON, forms, URLs and reprs alike.
_NAMES: Final = (
    "access_token|refresh_token|id_token|subject_token|actor_token|vault_token|agent_token|admin_token"
    "|client_secret|client_assertion|assertion|code_verifier|private_key|password|passwd|api_key"
)
#: Names too common to be heeded anywhere but in a URL's query.
_QUERY_NAMES: Final = f"{_NAMES}|code|state|ticket|token|secret|key|sig|[^=&\\s]*pass[^=&\\s]*"
_QUOTES: Final = r"""["'\\]*"""
_RULES: Final = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        # A private key in PEM (RFC 7468).
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL, REMOVED),
        # A compact JWS or JWE (RFC 7515 §7.1, RFC 7516 §7.1): vault tokens, assertions, ID tokens.
        (r"\beyJ[\w-]{5,}(?:\.[\w-]*){1,4}", re.ASCII, REMOVED),
        # Our admin tokens, and those of issuers that mark theirs.
        (r"\b(?:dva_|gh[opsur]_|github_pat_|xox[a-z]-|xoxe\.|ya29\.)[\w.-]{8,}", re.ASCII, REMOVED),
        # A URL's user and password (RFC 3986 §3.2.1): the user stays, up to the last `@` all else goes.
        (r"(?<=://)([^\s/:@\"']*):[^\s\"']{0,512}@", 0, rf"\1:{REMOVED}@"),
        # A header and its value (RFC 9110 §11.6.2), or the value alone.
        (
            (
                rf"\b((?:proxy-)?authorization|(?:set-)?cookie|dpop){_QUOTES}[\s,:=]+b?{_QUOTES}(?:[a-z]+ )?"
                r"[^\s,\"'\\]+"
            ),
            re.IGNORECASE,
            rf"\1: {REMOVED}",
        ),
        (r"\b(bearer|basic|dpop) [\w.~+/=-]{12,}", re.IGNORECASE | re.ASCII, rf"\1 {REMOVED}"),
        (rf"([?&](?:{_QUERY_NAMES})=)[^&\s\"'\\#)\]}}>]+", re.IGNORECASE, rf"\1{REMOVED}"),
        (
            rf"\b({_NAMES})({_QUOTES}\s*[=:]\s*b?{_QUOTES})[^\s\"'\\&,;)\]}}]+",
            re.IGNORECASE,
            rf"\1\2{REMOVED}",
        ),
    )
)


def redacted(text: str) -> str:
    """The text with whatever looks like a secret removed. Idempotent."""
    for rule, replacement in _RULES:
        text = rule.sub(replacement, text)
    return text
