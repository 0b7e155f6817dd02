"""Who calls: an agent with its vault token, proven (RFC 9449 §7) where it is bound, or an admin."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.http import HTTPBase

from dispenser.http.door import Door, TheDoor
from dispenser.http.dpop import ALGORITHMS, InvalidProof, Proof, checked
from dispenser.http.problems import Refused, of_code, of_reply
from dispenser.protocol import Code, Reply
from dispenser.vault_token import Identity
from shared.model import AgentName

DOOR: Final = "http"
_VAULT_TOKEN = HTTPBearer(auto_error=False, scheme_name="vault token", description="VAULT_AGENT_TOKEN")
_ADMIN_TOKEN = HTTPBearer(auto_error=False, scheme_name="admin token", description="VAULT_ADMIN_TOKEN")
_BOUND_TOKEN = HTTPBase(
    scheme="DPoP",
    auto_error=False,
    scheme_name="bound vault token",
    description="VAULT_AGENT_TOKEN that is bound to a key, with a proof in the header `DPoP` (RFC 9449).",
)
Presented = Annotated[HTTPAuthorizationCredentials | None, Security(_BOUND_TOKEN)]
VaultBearer = Annotated[HTTPAuthorizationCredentials | None, Security(_VAULT_TOKEN)]
AdminBearer = Annotated[HTTPAuthorizationCredentials | None, Security(_ADMIN_TOKEN)]


async def _agent(
    agent: AgentName, request: Request, presented: Presented, _: VaultBearer, door: TheDoor
) -> Identity:
    """The session that calls. The agent in the path must be the vault token's own."""
    scheme = presented.scheme.lower() if presented else ""
    if presented is None or scheme not in ("bearer", "dpop"):
        raise _unauthenticated("Send the vault token: Authorization: Bearer ...")
    if (refusal := door.dispenser.stranger(presented.credentials, sender(request))) is not None:
        raise Refused(of_reply(refusal))
    proven = await _proven(request, door, presented.credentials) if scheme == "dpop" else None
    identity = await door.dispenser.authenticate(presented.credentials, door=DOOR, proven=proven)
    if isinstance(identity, Reply):
        raise _unauthenticated(identity.reason, "invalid_token")
    if identity.key is None and scheme == "dpop":
        raise _unauthenticated("This vault token is bound to no key: send it as Bearer.", "invalid_token")
    if identity.agent != agent:
        raise Refused(of_code(Code.DENIED, "The vault token is another agent's than the one in the path."))
    return identity


def sender(request: Request) -> str:
    """Whom the door knows a caller as before its vault token is checked: from where it calls."""
    return f"http {request.client.host if request.client else ''}"


async def _proven(request: Request, door: Door, token: str) -> str:
    try:
        return (await proof(request, door, token)).key
    except InvalidProof as error:
        raise _unauthenticated(str(error), "invalid_dpop_proof") from None


async def proof(request: Request, door: Door, token: str | None) -> Proof:
    """The proof that comes with a request, used up by it. Raises: InvalidProof."""
    headers = request.headers.getlist("DPoP")
    if len(headers) != 1:
        raise InvalidProof("Send one proof of the key that the vault token is bound to, in the header DPoP.")
    url = door.settings.public_url + request.url.path
    found = checked(headers[0], method=request.method, url=url, token=token, now=door.clock())
    if not await door.replays.first(found.digest):
        raise InvalidProof("The proof was used before: every request takes a fresh one (jti).")
    return found


def _unauthenticated(detail: str, error: str = "") -> Refused:
    """With the challenges of RFC 9449 §7.1 and RFC 6750 §3."""
    said = f'error="{error}", ' if error else ""
    challenges = f'Bearer realm="vault", DPoP {said}algs="{" ".join(ALGORITHMS)}"'
    problem = of_code(Code.UNAUTHENTICATED, detail)
    return Refused(replace(problem, headers={"WWW-Authenticate": challenges}))


async def _admin(bearer: AdminBearer, door: TheDoor) -> str:
    name = await admin_named(bearer, door)
    if name is None:
        raise Refused(of_code(Code.UNAUTHENTICATED, "This takes an admin token: set VAULT_ADMIN_TOKEN."))
    return name


async def admin_named(bearer: HTTPAuthorizationCredentials | None, door: Door) -> str | None:
    """Whose admin token the bearer token is. None: it is none."""
    return None if bearer is None else await door.admins.named(bearer.credentials)


#: The calling session, as a route's argument.
Caller = Annotated[Identity, Depends(_agent)]
#: The calling admin's name, as a route's argument: nobody else gets in.
Admin = Annotated[str, Depends(_admin)]
#: The same in a route's dependencies, where it does not matter who it is.
AdminsOnly = Depends(_admin)
