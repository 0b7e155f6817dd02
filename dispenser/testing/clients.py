import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from dispenser.testing import assertion
from dispenser.testing.behaviour import ClientAuth
from dispenser.testing.refusal import Refusal

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client's registration at the provider."""

    client_id: str
    client_secret: str = field(default="", repr=False)
    #: Compared exactly; none: any address on the loopback interface.
    redirect_uris: tuple[str, ...] = ()
    #: PEM, for `private_key_jwt`.
    public_key: str | None = None

    def redirects_to(self, uri: str) -> bool:
        if self.redirect_uris:
            return uri in self.redirect_uris
        return urlsplit(uri).hostname in _LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """How a client authenticated, or tried to."""

    method: ClientAuth
    client_id: str
    #: Secret or assertion.
    proof: str = field(default="", repr=False)


def presented(form: Mapping[str, str], authorization: str) -> Presented:
    """The client authentication of a request (RFC 6749 §2.3.1, RFC 7523 §2.2): read, not yet checked."""
    if authorization.lower().startswith("basic "):
        client_id, secret = _basic(authorization[6:])
        return Presented(method="basic", client_id=client_id, proof=secret)
    if form.get("client_assertion_type") == ASSERTION_TYPE:
        text = form.get("client_assertion", "")
        return Presented(method="private_key_jwt", client_id=assertion.issuer_of(text), proof=text)
    client_id = form.get("client_id", "")
    if "client_secret" in form:
        return Presented(method="body", client_id=client_id, proof=form["client_secret"])
    return Presented(method="none", client_id=client_id)


class Clients:
    """The clients the provider knows."""

    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._seen_assertions: set[str] = set()

    def register(self, client: Client) -> None:
        self._by_id[client.client_id] = client

    def get(self, client_id: str) -> Client | None:
        return self._by_id.get(client_id)

    def authenticate(
        self, given: Presented, method: ClientAuth, *, audiences: tuple[str, ...], now: float
    ) -> Client:
        """The client that `given` proves to be, by the one `method` allowed. Raises: Refusal."""
        client = self.get(given.client_id)
        if client is None:
            raise invalid_client("No such client.")
        if given.method != method:
            raise invalid_client(f"This provider wants client authentication by {method}.")
        if method == "private_key_jwt":
            self._check_assertion(client, given.proof, audiences, now)
        elif method != "none" and not hmac.compare_digest(
            given.proof.encode(), client.client_secret.encode()
        ):
            raise invalid_client("The client secret is wrong.")
        return client

    def _check_assertion(self, client: Client, text: str, audiences: tuple[str, ...], now: float) -> None:
        try:
            claims = assertion.verify(text, client.public_key or "", audiences=audiences, now=now)
        except Refusal as refusal:
            raise invalid_client(refusal.description) from None
        if claims.get("sub") != client.client_id or not claims.get("jti"):
            raise invalid_client("A client assertion has the client as `sub`, and a `jti` (RFC 7523 §3).")
        if text in self._seen_assertions:
            raise invalid_client("The client assertion was used before.")
        self._seen_assertions.add(text)


def invalid_client(description: str) -> Refusal:
    """The refusal of a client that is not who it says (RFC 6749 §5.2)."""
    return Refusal("invalid_client", description, status=401)


def _basic(encoded: str) -> tuple[str, str]:
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    # Form-encoded before it is joined: RFC 6749 §2.3.1.
    return unquote_plus(client_id), unquote_plus(secret)
