from collections.abc import Mapping
from dataclasses import dataclass, field

from dispenser.testing.authority import Authority
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.faults import Faults
from dispenser.testing.journal import Journal


@dataclass(slots=True, kw_only=True)
class Provider:
    """What the endpoints share."""

    authority: Authority
    #: May be replaced at any time: it holds from the next request on.
    behaviour: Behaviour
    #: The client that is there from the start.
    client_id: str
    #: Who consents where no `login_hint` says it.
    default_owner: str
    #: The scope that `/api/<first segment>` asks for; a segment that is not here is free to every live token.
    api_scopes: Mapping[str, str]
    faults: Faults = field(default_factory=Faults)
    journal: Journal = field(default_factory=Journal)
