"""How much one agent may ask of one dispenser."""

from dataclasses import dataclass

from shared.model import Agent
from shared.settings import DEFAULT_MAX_CONCURRENCY, DEFAULT_MAX_REQUESTS_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for an agent that is not declared otherwise."""

    #: Calls begun in a second; as many may come at once after a second's rest.
    max_requests_per_second: int = DEFAULT_MAX_REQUESTS_PER_SECOND
    #: Calls in hand at once; what comes beyond waits in the agent's own line.
    max_concurrency: int = DEFAULT_MAX_CONCURRENCY

    def of(self, agent: Agent | None) -> "Limits":
        """An agent's own."""
        if agent is None:
            return self
        return Limits(
            max_requests_per_second=agent.max_requests_per_second or self.max_requests_per_second,
            max_concurrency=agent.max_concurrency or self.max_concurrency,
        )
