from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial

from dispenser.policy import about_service, is_about_agent
from shared.model import AgentName, Policy, ServiceName

#: Agents, and pairs of an agent and a service, whose policies are kept at hand.
_REMEMBERED = 4096


class PolicyIndex:
    """Finds the policies that are about an agent and a service, of however many there are."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        naming: dict[str, list[Policy]] = defaultdict(list)
        patterned: list[Policy] = []
        for policy in policies:
            if any(set("*?[") & set(pattern) for pattern in policy.agents):
                patterned.append(policy)
            else:
                for agent in dict.fromkeys(policy.agents):
                    naming[agent].append(policy)
        # What is remembered does not know this index: it goes at once with it, policies and all.
        about_agent = lru_cache(_REMEMBERED)(partial(_about_agent, naming, patterned))
        #: As `policy.judged` takes them.
        self.about = lru_cache(_REMEMBERED)(partial(_about, about_agent))


def _about(
    about_agent: Callable[[AgentName], Sequence[Policy]], agent: AgentName, service: ServiceName
) -> Sequence[Policy]:
    return about_service(about_agent(agent), service)


def _about_agent(
    naming: Mapping[str, Sequence[Policy]], patterned: Sequence[Policy], agent: AgentName
) -> Sequence[Policy]:
    return (*naming.get(agent, ()), *(policy for policy in patterned if is_about_agent(policy, agent)))
