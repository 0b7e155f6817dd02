from dataclasses import dataclass
from typing import Literal

ClientAuth = Literal["basic", "body", "private_key_jwt", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A provider's habits. The default is the strictest provider there is."""

    #: A refresh answers with a new refresh token and spends the old one.
    rotates: bool = True
    #: Seconds in which a spent refresh token is still accepted.
    grace_seconds: float = 0
    #: What a spent token gets within the grace: the tokens of the first answer, or new ones.
    replay: Literal["same", "new"] = "new"
    #: What a spent token does after the grace: it is refused, alone or with every token of its family.
    on_reuse: Literal["deny", "revoke_family"] = "revoke_family"
    access_token_seconds: float = 3600
    #: How `expires_in` is sent; RFC 6749 §5.1 says seconds, as a number.
    expires_in: Literal["seconds", "milliseconds", "text", "omitted"] = "seconds"
    #: A refresh answers without a refresh token and leaves the old one alive (RFC 6749 §6).
    omit_refresh_token: bool = False
    #: How clients have to authenticate (RFC 6749 §2.3, RFC 7523 §2.2).
    client_auth: ClientAuth = "basic"
    #: Seconds between carrying a token request out and answering it.
    response_delay_seconds: float = 0
    #: `scope` in a refresh is an error, as with some providers.
    refuse_scope_on_refresh: bool = False
    #: What the owner does not consent to, whatever the client asks for.
    withheld_scopes: tuple[str, ...] = ()
    #: The owner sees a page and decides, instead of consenting at once.
    consent_page: bool = False
