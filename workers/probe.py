"""Does a provider know our client? Asked with a credential that nobody ever had, so that nothing is spent."""

from dataclasses import dataclass
from typing import Final

from shared.envelope import open_provider_secrets
from shared.keyring import Keyring
from shared.model import (
    ClientItself,
    GrantKind,
    Presented,
    Provider,
    RefreshToken,
    RefusalKind,
    Service,
    ServiceName,
    StaticToken,
)
from shared.ports import Clock, NoAnswer, NotAsked, NotSent, ProviderHttp
from shared.secret import Secret
from workers import oauth
from workers.answer import Answer
from workers.outcome import NOT_SENT, Issued, Outcome, Refused, read

NOBODYS_TOKEN: Final = "vault-probe-nobodys-token"  # noqa: S105 - made to be refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of asking."""

    reachable: bool
    client_known: bool
    #: For people.
    says: str


async def probe(
    http: ProviderHttp, keys: Keyring, provider: Provider, secrets: bytes | None, *, clock: Clock, jti: str
) -> Finding:
    """One request to the token endpoint. Raises: ConfigurationError, KeyMissing, SealBroken."""
    request = oauth.token_request(
        provider,
        open_provider_secrets(keys, provider, secrets),
        Service(name=ServiceName("probe"), provider=provider.name),
        _nobodys(provider),
        now=clock(),
        jti=jti,
    )
    if request is None:
        return _found(provider, reachable=True, client_known=True, why="static tokens, so nobody to ask")
    sent_at = clock()
    try:
        answer = Answer.of(await http.send(request), sent_at)
    except NotAsked as error:
        return _found(provider, reachable=False, client_known=False, why=str(error).rstrip("."))
    except (NotSent, NoAnswer):
        return finding(provider, NOT_SENT)
    return finding(provider, read(answer, provider, clock()))


def finding(provider: Provider, outcome: Outcome) -> Finding:
    """What an outcome says of our registration: a provider looks at the client before the grant."""
    match outcome:
        case Refused() if outcome == NOT_SENT:
            return _found(
                provider, reachable=False, client_known=False, why="the token endpoint does not answer"
            )
        case Refused(kind=RefusalKind.CLIENT_CONFIG, code=code):
            return _found(provider, reachable=True, client_known=False, why=f"it refuses the client ({code})")
        case Issued() | Refused(kind=RefusalKind.DEAD):
            return _found(provider, reachable=True, client_known=True, why="it knows the client")
        case Refused(code=code):
            why = f"it answers {code}, which says nothing of the client"
            return _found(provider, reachable=True, client_known=False, why=why)


def _nobodys(provider: Provider) -> Presented:
    match provider.grant:
        case GrantKind.AUTHORIZATION_CODE:
            return RefreshToken(value=Secret(NOBODYS_TOKEN), client=provider.client)
        case GrantKind.STATIC:
            return StaticToken(value=Secret(NOBODYS_TOKEN))
        case _:
            return ClientItself()


def _found(provider: Provider, *, reachable: bool, client_known: bool, why: str) -> Finding:
    return Finding(reachable=reachable, client_known=client_known, says=f"{provider.name}: {why}.")
