"""Whether everyone that a vault token names is still an agent that may have one."""

from collections.abc import Mapping

from dispenser.vault_token import Identity, sufficient
from shared.model import Agent, AgentName

UNDECLARED = "The vault token's agent is not declared: `dispenser apply` it."
REVOKED = "The agent was revoked."
UNBOUND = "This agent's vault tokens are bound to a key, and this one is not: get one that is."


def fault(agents: Mapping[AgentName, Agent], identity: Identity) -> str | None:
    """What is wrong with the first of them of whom anything is."""
    for name in dict.fromkeys((identity.agent, *identity.actors)):
        agent = agents.get(name)
        if agent is None:
            return UNDECLARED
        if agent.revoked_at is not None:
            return REVOKED
        if not sufficient(identity, agent):
            return UNBOUND
    return None
