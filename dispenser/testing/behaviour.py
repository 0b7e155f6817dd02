from collections.abc import Mapping
from dataclasses import dataclass, field
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
    expires_in: Literal["seconds", "milliseconds", "text", "zero", "omitted"] = "seconds"
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
    #: Seconds after which a refresh token that lies unused ends.
    refresh_token_idle_seconds: float | None = None
    #: Seconds after the consent at which its refresh tokens end, used or not.
    refresh_token_life_seconds: float | None = None
    #: Answers say with `refresh_token_expires_in` how many seconds that leaves (GitHub).
    tells_refresh_token_life: bool = False
    #: Consents of one owner to one client that live at once: one more ends the oldest (Google).
    most_consents: int | None = None
    #: Token requests in one second; those beyond get 429.
    max_requests_per_second: int | None = None
    #: How a 429 says when to come again: RFC 9110 §10.2.3 knows two ways.
    retry_after: Literal["seconds", "date"] = "seconds"
    #: The member of an answer that holds its fields, as Slack's `authed_user`; empty: they are at the top.
    exchange_member: str = ""
    refresh_member: str = ""
    #: Answers are forms unless the client accepts JSON (GitHub).
    form_unless_asked: bool = False
    #: Answers name no scopes (RFC 6749 §5.1: they are those asked for).
    omit_scope: bool = False
    scope_separator: str = " "
    token_type: str = "Bearer"  # noqa: S105 - the scheme (RFC 6750 §2.1)
    #: How a refusal looks: RFC 6749 §5.2, an error under status 200 (GitHub), `ok: false` under status 200
    #: (Slack), or a list of sentences.
    refusals: Literal["oauth", "in_200", "ok_false", "sentences"] = "oauth"
    #: The provider's own names for codes of RFC 6749, as in {"invalid_grant": "bad_refresh_token"}.
    codes: Mapping[str, str] = field(default_factory=dict)
