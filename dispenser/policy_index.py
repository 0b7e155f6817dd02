from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dispenser.policy import is_about
from shared.model import AgentName, Policy

#: Agents whose policies are kept at hand.
_REMEMBERED = 10_000


class PolicyIndex:
    """Finds the policies that are about an agent, of however many there are."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._naming: dict[str, list[Policy]] = defaultdict(list)
        self._patterned: list[Policy] = []
        for policy in policies:
            if any(set("*?[") & set(pattern) for pattern in policy.agents):
                self._patterned.append(policy)
            else:
                for agent in dict.fromkeys(policy.agents):
                    self._naming[agent].append(policy)
        self.about = lru_cache(_REMEMBERED)(self._about)

    def _about(self, agent: AgentName) -> Sequence[Policy]:
        patterned = (policy for policy in self._patterned if is_about(policy, agent))
        return (*self._naming.get(agent, ()), *patterned)
