from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dispenser.policy import about_service, is_about_agent
from shared.model import AgentName, Policy, ServiceName

#: Agents, and pairs of an agent and a service, whose policies are kept at hand.
_REMEMBERED = 4096


class PolicyIndex:
    """Finds the policies that are about an agent and a service, of however many there are."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._naming: dict[str, list[Policy]] = defaultdict(list)
        self._patterned: list[Policy] = []
        for policy in policies:
            if any(set("*?[") & set(pattern) for pattern in policy.agents):
                self._patterned.append(policy)
            else:
                for agent in dict.fromkeys(policy.agents):
                    self._naming[agent].append(policy)
        self._about_agent = lru_cache(_REMEMBERED)(self._find)
        #: As `policy.judged` takes them.
        self.about = lru_cache(_REMEMBERED)(self._about)

    def _about(self, agent: AgentName, service: ServiceName) -> Sequence[Policy]:
        return about_service(self._about_agent(agent), service)

    def _find(self, agent: AgentName) -> Sequence[Policy]:
        patterned = (policy for policy in self._patterned if is_about_agent(policy, agent))
        return (*self._naming.get(agent, ()), *patterned)
