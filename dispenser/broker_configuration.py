"""What RabbitMQ has to be told, so that agents log in with their vault tokens
(https://www.rabbitmq.com/docs/oauth2)."""

from collections.abc import Iterable
from typing import Final

from dispenser.vault_token import ALGORITHM, BROKER_AUDIENCE

#: Where RabbitMQ reads what is written for it.
FOLDER: Final = "/etc/rabbitmq/vault"
CONFIGURATION_FILE: Final = "vault.conf"

_HEAD: Final = f"""\
# How agents log in: with their vault tokens. Users of RabbitMQ's own, as the vault's processes are, still do.
# Written by `dispenser init` and by whatever changes the signing keys: edits are lost.
#
# On every node, put this folder at {FOLDER} and this file into /etc/rabbitmq/conf.d, then
#     rabbitmq-plugins enable rabbitmq_auth_backend_oauth2
# and restart the node. It learns a new key without a restart, of which this file tells it at the next one:
#     rabbitmqctl add_uaa_key KEY_ID --pem-file={FOLDER}/KEY_ID.pem
# A new key signs nothing for the first minutes: tell every node within them.
auth_backends.1 = rabbit_auth_backend_oauth2
auth_backends.2 = rabbit_auth_backend_internal
auth_oauth2.resource_server_id = {BROKER_AUDIENCE}
auth_oauth2.algorithms.1 = {ALGORITHM}
"""


def key_file(key_id: str) -> str:
    """The name of the file that holds a public signing key."""
    return f"{key_id}.pem"


def configuration(key_ids: Iterable[str]) -> str:
    """A rabbitmq.conf for RabbitMQ 3.10 and later, with every key that a vault token may be signed with.

    Keys in files rather than `jwks_url`: that wants HTTPS at the gateway, and makes every login with a key id
    that nobody knows a request to it.
    """
    named = {key_id: f"{FOLDER}/{key_file(key_id)}" for key_id in sorted(key_ids)}
    return _HEAD + "".join(f"auth_oauth2.signing_keys.{key_id} = {path}\n" for key_id, path in named.items())
