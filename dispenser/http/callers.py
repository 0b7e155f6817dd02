"""Who calls: an agent with its vault token, or an admin (RFC 6750 §2.1)."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dispenser.http.door import Door, TheDoor
from dispenser.http.problems import Refused, of_code, of_reply
from dispenser.protocol import Code, Reply
from dispenser.vault_token import Identity
from shared.model import AgentName

_VAULT_TOKEN = HTTPBearer(auto_error=False, scheme_name="vault token", description="VAULT_AGENT_TOKEN")
_ADMIN_TOKEN = HTTPBearer(auto_error=False, scheme_name="admin token", description="VAULT_ADMIN_TOKEN")
VaultBearer = Annotated[HTTPAuthorizationCredentials | None, Security(_VAULT_TOKEN)]
AdminBearer = Annotated[HTTPAuthorizationCredentials | None, Security(_ADMIN_TOKEN)]


async def _agent(agent: AgentName, bearer: VaultBearer, door: TheDoor) -> Identity:
    """The session that calls. The agent in the path must be the vault token's own."""
    if bearer is None:
        raise Refused(of_code(Code.UNAUTHENTICATED, "Send the vault token: Authorization: Bearer ..."))
    identity = await door.dispenser.authenticate(bearer.credentials)
    if isinstance(identity, Reply):
        raise Refused(of_reply(identity))
    if identity.agent != agent:
        raise Refused(of_code(Code.DENIED, "The vault token is another agent's than the one in the path."))
    return identity


async def _admin(bearer: AdminBearer, door: TheDoor) -> None:
    if not await is_admin(bearer, door):
        raise Refused(of_code(Code.UNAUTHENTICATED, "This takes an admin token: set VAULT_ADMIN_TOKEN."))


async def is_admin(bearer: HTTPAuthorizationCredentials | None, door: Door) -> bool:
    """Whether the bearer token is an admin's."""
    return bearer is not None and await door.admins.known(bearer.credentials)


#: The calling session, as a route's argument.
Caller = Annotated[Identity, Depends(_agent)]
#: In a route's dependencies: admins alone get in.
AdminsOnly = Depends(_admin)
