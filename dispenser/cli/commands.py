"""Every command: the module that has it, and the sentence by which `dispenser --help` lists it unloaded."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Listed(NamedTuple):
    """A command that is known and not loaded."""

    #: In this package; its `register` brings the command.
    module: str
    #: What the command's own help begins with.
    says: str


#: In the order in which a newcomer needs them.
COMMANDS: Final[Mapping[str, Listed]] = {
    "demo": Listed(
        "demonstration",
        "The productivity tracker from start to end, in about 20 seconds. Exits 0 when every claim held.",
    ),
    "dev": Listed(
        "demonstration",
        "An embedded vault with an emulated provider, for developing agents. Ends with Ctrl-C.",
    ),
    "init": Listed(
        "set_up",
        "Make keys, tables, broker topology and the first admin token (printed once). Safe to repeat.",
    ),
    "apply": Listed(
        "set_up", "Bring providers, services, agents and policies to what the files declare. Removes nothing."
    ),
    "config": Listed("set_up", "Show the settings in force, without passwords."),
    "status": Listed("set_up", "Show whether the vault's parts answer, and how its grants are."),
    "doctor": Listed("set_up", "Look at everything that can be wrong, and say what to do about it."),
    "serve": Listed("serve", "Answer agents over AMQP. Start more of it, here or elsewhere, to answer more."),
    "gateway": Listed("gateway", "Answer agents and admins over HTTP, and lead owners through consent."),
    "work": Listed("work", "Refresh grants, announce what is due, or tidy up."),
    "provider": Listed("catalogue", "The authorization servers that grants come from."),
    "service": Listed("catalogue", "What agents can ask for."),
    "connect": Listed(
        "grants", "Connect an owner's account: consent at the provider, then the vault keeps the grant fresh."
    ),
    "grant": Listed("grants", "What owners gave for services."),
    "agent": Listed("agents", "Agents and their vault tokens."),
    "policy": Listed("policies", "Who may have what."),
    "token": Listed("access", "Print what an agent would get. Uses VAULT_URL and VAULT_AGENT_TOKEN."),
    "audit": Listed("audit", "Who received which token, when, for whom, and why."),
    "keys": Listed("keys", "The keys that the vault seals and signs with."),
    "revoke": Listed("revocations", "Take rights back; it holds from the next request on."),
}
