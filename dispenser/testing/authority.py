import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dispenser.testing import assertion
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.clients import Client, Clients, Presented
from dispenser.testing.codes import Codes
from dispenser.testing.refusal import Refusal
from dispenser.testing.tokens import Family, Issued, RefreshToken, Tokens, ends_at, standing

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FACTORS: Final = {"seconds": 1, "text": 1, "milliseconds": 1000, "zero": 0}


@dataclass(frozen=True, slots=True)
class Granted:
    """A token request's success: what is answered, and what the journal calls it."""

    body: Mapping[str, Any]
    outcome: str = "issued"


class Authority:
    """The OAuth 2.0 rules of the provider, in memory; HTTP is somewhere else."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: Known once the provider listens.
        self.issuer = ""
        self.clients = Clients()
        self.codes = Codes()
        self.tokens = Tokens()
        #: Public keys of service accounts (PEM), by their name.
        self.service_accounts: dict[str, str] = {}

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    def authenticate(self, given: Presented, behaviour: Behaviour) -> Client:
        """Raises: Refusal."""
        audiences = (self.issuer, self.token_url)
        return self.clients.authenticate(given, behaviour.client_auth, audiences=audiences, now=self.clock())

    def token(self, form: Mapping[str, str], given: Presented, behaviour: Behaviour) -> Granted:
        """The answer to a token request (RFC 6749 §5.1). Raises: Refusal."""
        grant_type = form.get("grant_type", "")
        if grant_type == JWT_BEARER:
            return self._from_assertion(form, behaviour)
        client = self.authenticate(given, behaviour)
        match grant_type:
            case "authorization_code":
                return self._from_code(form, client, behaviour)
            case "refresh_token":
                return self._from_refresh_token(form, client, behaviour)
            case "client_credentials":
                family = Family(client.client_id, client.client_id, _scopes(form), self.clock())
                return self._granted(self._issued(family, family.scopes, None, behaviour), behaviour)
        raise Refusal("unsupported_grant_type", "This provider does not know that grant type.")

    def consented(
        self, owner: str, scopes: tuple[str, ...], client_id: str, behaviour: Behaviour
    ) -> RefreshToken:
        """A refresh token as if `owner` had consented just now."""
        return self._first_refresh(Family(client_id, owner, scopes, self.clock()), behaviour)

    def revoke(self, token: str, client: Client) -> None:
        """A refresh token takes its family with it; what is unknown is no error (RFC 7009 §2.1, §2.2)."""
        if (refresh := self.tokens.refresh(token)) and refresh.family.client_id == client.client_id:
            refresh.family.revoked = True
        if (access := self.tokens.access(token)) and access.family.client_id == client.client_id:
            access.revoked = True

    def introspect(self, token: str) -> Mapping[str, Any]:
        """What a token is worth (RFC 7662 §2.2)."""
        access, refresh = self.tokens.access(token), self.tokens.refresh(token)
        if access and access.live(self.clock()):
            expiry = {"exp": int(access.expires_at), "token_type": "Bearer"}
            return self._described(access.family, access.scopes) | expiry
        if refresh and refresh.spent_at is None and not refresh.family.revoked:
            return self._described(refresh.family, refresh.family.scopes)
        return {"active": False}

    def _described(self, family: Family, scopes: tuple[str, ...]) -> dict[str, Any]:
        return {
            "active": True,
            "scope": " ".join(scopes),
            "client_id": family.client_id,
            "sub": family.owner,
            "iss": self.issuer,
        }

    def _from_code(self, form: Mapping[str, str], client: Client, behaviour: Behaviour) -> Granted:
        family = self.codes.redeem(
            form.get("code", ""),
            client_id=client.client_id,
            redirect_uri=form.get("redirect_uri", ""),
            verifier=form.get("code_verifier", ""),
            now=self.clock(),
        )
        refresh = self._first_refresh(family, behaviour)
        return self._granted(self._issued(family, family.scopes, refresh, behaviour), behaviour)

    def _first_refresh(self, family: Family, behaviour: Behaviour) -> RefreshToken:
        token = self.tokens.issue_refresh(family, self.clock())
        if behaviour.most_consents is not None:
            self.tokens.end_oldest(family, behaviour.most_consents)
        return token

    def _from_assertion(self, form: Mapping[str, str], behaviour: Behaviour) -> Granted:
        text = form.get("assertion", "")
        name = assertion.issuer_of(text)
        if name not in self.service_accounts:
            raise Refusal("invalid_grant", "No such service account.")
        claims = assertion.verify(
            text, self.service_accounts[name], audiences=(self.issuer, self.token_url), now=self.clock()
        )
        scopes = _scopes(form) or _scopes(claims)
        family = Family(name, str(claims.get("sub", name)), scopes, self.clock())
        return self._granted(self._issued(family, family.scopes, None, behaviour), behaviour)

    def _from_refresh_token(self, form: Mapping[str, str], client: Client, behaviour: Behaviour) -> Granted:
        token = self.tokens.refresh(form.get("refresh_token", ""))
        if token is None or token.family.client_id != client.client_id:
            raise Refusal("invalid_grant", "The refresh token is unknown, or another client's.")
        scopes = _narrowed(form, token.family, behaviour)
        match standing(token, behaviour, self.clock()):
            case "fresh":
                return self._granted(self._rotated(token, scopes, behaviour), behaviour)
            case "in_grace":
                return self._granted(self._replayed(token, scopes, behaviour), behaviour, "replayed")
            case "reused":
                token.family.revoked = behaviour.on_reuse == "revoke_family"
                raise Refusal("invalid_grant", "The refresh token was used before.", outcome="reused")
            case "expired":
                raise Refusal("invalid_grant", "The refresh token has expired.", outcome="expired")
        raise Refusal("invalid_grant", "The refresh token was revoked.")

    def _rotated(self, token: RefreshToken, scopes: tuple[str, ...], behaviour: Behaviour) -> Issued:
        token.used_at = self.clock()
        if behaviour.omit_refresh_token:
            return self._issued(token.family, scopes, None, behaviour)
        if not behaviour.rotates:
            return self._issued(token.family, scopes, token, behaviour)
        token.spent_at = self.clock()
        successor = self.tokens.issue_refresh(token.family, self.clock())
        token.successor = self._issued(token.family, scopes, successor, behaviour)
        return token.successor

    def _replayed(self, token: RefreshToken, scopes: tuple[str, ...], behaviour: Behaviour) -> Issued:
        if behaviour.replay == "same" and token.successor:
            return token.successor
        successor = self.tokens.issue_refresh(token.family, self.clock())
        return self._issued(token.family, scopes, successor, behaviour)

    def _issued(
        self, family: Family, scopes: tuple[str, ...], refresh: RefreshToken | None, behaviour: Behaviour
    ) -> Issued:
        expires_at = self.clock() + behaviour.access_token_seconds
        return Issued(self.tokens.issue_access(family, scopes, expires_at), refresh)

    def _granted(self, issued: Issued, behaviour: Behaviour, outcome: str = "issued") -> Granted:
        body: dict[str, Any] = {"access_token": issued.access.value, "token_type": behaviour.token_type}
        if behaviour.expires_in != "omitted":
            seconds = issued.access.expires_at - self.clock()
            left = round(seconds * _FACTORS[behaviour.expires_in])
            body["expires_in"] = str(left) if behaviour.expires_in == "text" else left
        if issued.refresh:
            body |= self._refresh_fields(issued.refresh, behaviour)
        if not behaviour.omit_scope:
            body["scope"] = behaviour.scope_separator.join(issued.access.scopes)
        return Granted(body, outcome)

    def _refresh_fields(self, token: RefreshToken, behaviour: Behaviour) -> dict[str, Any]:
        left = ends_at(token, behaviour) - self.clock()
        told = behaviour.tells_refresh_token_life and math.isfinite(left)
        return {"refresh_token": token.value} | ({"refresh_token_expires_in": round(left)} if told else {})


def _scopes(fields: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(fields.get("scope", "")).split())


def _narrowed(form: Mapping[str, str], family: Family, behaviour: Behaviour) -> tuple[str, ...]:
    """The scopes of a refresh: those of the consent, or fewer (RFC 6749 §6). Raises: Refusal."""
    if "scope" not in form:
        return family.scopes
    if behaviour.refuse_scope_on_refresh:
        raise Refusal("invalid_request", "This provider takes no `scope` in a refresh.")
    if set(_scopes(form)) - set(family.scopes):
        raise Refusal("invalid_scope", "The scopes go beyond what the owner consented to.")
    return _scopes(form)
