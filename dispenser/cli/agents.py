import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dispenser.agent_key import from_text, public_jwk, thumbprint
from dispenser.cli.act import recorded
from dispenser.cli.duration import seconds
from dispenser.cli.failure import Refused, Usage
from dispenser.cli.output import AsJson, aside, listing
from dispenser.cli.revocations import agent_revoked, subject_revoked
from dispenser.cli.session import execute, opened
from dispenser.vault_token import LONGEST_TTL_SECONDS, Identity, mint
from dispenser.wiring.world import new_id
from shared.model import Agent, AgentName, Owner, Proof, RevocationKind, SessionId

agent = typer.Typer(help="Agents and their vault tokens.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Agents."""
    app.add_typer(agent, name="agent")


@agent.command("list")
def list_agents(*, as_json: AsJson = False) -> None:
    """List agents."""
    rows = [
        {
            "agent": known.name,
            "description": known.description,
            "proof": known.proof,
            "revoked_at": known.revoked_at,
        }
        for known in execute(_agents())
    ]
    listing(rows, as_json=as_json, empty="No agent is declared: `dispenser apply FILE.yaml`.")


@agent.command("key")
def key(file: Annotated[Path, typer.Argument(help="Where the private key goes; it must not exist.")]) -> None:
    """Make an agent's key pair: the private key into FILE, for VAULT_AGENT_KEY; prints the public one."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused(f"{file} exists, and a key is not overwritten: name another file.") from None
    with os.fdopen(handle, "wb") as writing:
        writing.write(pem)
    typer.echo(json.dumps(public_jwk(private.public_key()), separators=(",", ":")))


@agent.command("token")
def agent_token(
    name: str,
    *,
    owner: Annotated[str, typer.Option(help="On whose behalf the agent runs.")],
    ttl: Annotated[str, typer.Option(help="How long the token lives: 90s, 15m, 1h.")] = "15m",
    session: Annotated[str, typer.Option(help="The session's id; a new one by default.")] = "",
    key: Annotated[
        str, typer.Option(help="The agent's public key, as `agent key` prints it: only its holder is served.")
    ] = "",
) -> None:
    """Print a vault token for one session of an agent, and nothing else."""
    typer.echo(
        execute(
            _minted(
                AgentName(name),
                Owner(owner),
                SessionId(session),
                seconds(ttl, "--ttl", longest=LONGEST_TTL_SECONDS),
                _thumbprint(key),
            )
        )
    )


@agent.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="An agent; left out with --session and --all.")] = "",
    *,
    session: Annotated[str, typer.Option(help="One session's vault tokens, and nothing else.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every vault token issued up to now.")] = False,
) -> None:
    """Void an agent's vault tokens and mint no more until it is restored, or void tokens alone."""
    if [bool(name), bool(session), everything].count(True) != 1:
        raise Usage("Name one of: an agent, --session ID, --all.")
    subject = execute(_revoked(AgentName(name), session))
    aside.print(f"Revoked {subject}; it holds from the next request.")


@agent.command("restore")
def restore(name: str) -> None:
    """Let a revoked agent have vault tokens again; the old ones stay void."""
    execute(_restored(AgentName(name)))
    aside.print(f"Restored {name}: `dispenser agent token {name} --owner U` makes it a new vault token.")


async def _agents() -> list[Agent]:
    async with opened() as at:
        return list((await at.store.catalogue.load()).agents.values())


async def _minted(
    name: AgentName, owner: Owner, session: SessionId, ttl_seconds: int, key: str | None
) -> str:
    async with opened() as at:
        known = await at.store.catalogue.agent(name)
        if known is None:
            raise Refused(f"There is no agent {name!r}: `dispenser agent list` shows those there are.")
        if known.revoked_at is not None:
            raise Refused(f"{name} was revoked: `dispenser agent restore {name}` lets it have tokens again.")
        if known.proof is Proof.REQUIRED and key is None:
            raise Refused(f"{name} has to prove a key: `dispenser agent key FILE` makes one, --key names it.")
        now = at.clock()
        identity = Identity(
            agent=name,
            session=session or SessionId(secrets.token_hex(8)),
            owner=owner,
            token_id=new_id(),
            issued_at=now,
            expires_at=now + timedelta(seconds=ttl_seconds),
            key=key,
        )
        token = mint(at.keys, identity, vault=at.settings.vault_name)
        await recorded(
            at,
            "vault_token.issued",
            agent=identity.agent,
            session=identity.session,
            owner=identity.owner,
            request_id=identity.token_id,
        )
        return token


async def _revoked(name: AgentName, session: str) -> str:
    if not name:
        await subject_revoked(RevocationKind.SESSION if session else RevocationKind.ALL, session)
        return f"session {session}" if session else "every vault token"
    if not await agent_revoked(name):
        raise Refused(f"There is no agent {name!r}: `dispenser agent list` shows those there are.")
    return f"agent {name}"


async def _restored(name: AgentName) -> None:
    async with opened() as at:
        await recorded(at, "agent.restored", agent=name)
        if not await at.store.catalogue.set_agent_revoked(name, None):
            raise Refused(f"There is no agent {name!r}: `dispenser agent list` shows those there are.")


def _thumbprint(key: str) -> str | None:
    try:
        return thumbprint(from_text(key)) if key else None
    except ValueError as error:
        raise Usage(f"--key: {error}.") from None
