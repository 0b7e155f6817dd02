"""Holds an agent's access tokens: from memory, from a call under way, or else by asking the vault."""

import asyncio

from dispenser.client import child
from dispenser.client.asking import Asking
from dispenser.client.child import ChildToken
from dispenser.client.errors import DeadlineExceeded, VaultError, VaultUnreachable
from dispenser.client.flights import Flights
from dispenser.client.memory import Memory, Wanted
from dispenser.client.tasks import Tasks
from dispenser.client.token import Token, from_reply
from dispenser.protocol import ChildCall, RejectedCall, TokenCall


class Holder:
    """Deadlines are instants of the event loop's clock."""

    def __init__(self, asking: Asking, tasks: Tasks) -> None:
        self._asking = asking
        self._memory = Memory()
        self._fetching: Flights[Token] = Flights(tasks)
        self._rejecting: Flights[None] = Flights(tasks)
        self._now = asyncio.get_running_loop().time

    async def token(self, call: TokenCall, *, deadline: float) -> Token:
        """Raises: VaultError."""
        wanted = Wanted(service=call.service, owner=call.owner, scopes=frozenset(call.scopes or ()))
        while True:
            held = self._memory.find(wanted, min_ttl=call.min_ttl, now=self._now())
            if held is not None:
                return held
            joins = (wanted, call.min_ttl) in self._fetching
            try:
                return await self._fetched(wanted, call, deadline, joins=joins)
            except (DeadlineExceeded, VaultUnreachable) as error:
                # The call joined may have had less time than this one still has.
                if not (joins and error.retryable and self._now() < deadline):
                    raise

    async def rejected(self, token: Token, *, deadline: float) -> None:
        """Raises: VaultError."""
        if not self._memory.reject(token):
            return
        call = RejectedCall(service=token.service, owner=token.owner, generation=token.generation)
        await self._rejecting.join(call, lambda: self._reject(call, deadline))

    async def child(self, call: ChildCall, *, deadline: float) -> ChildToken:
        """Raises: VaultError."""
        answer = await self._asking.ask(call, deadline=deadline)
        try:
            return child.from_reply(answer.reply)
        except ValueError as error:
            raise VaultError(f"The vault's answer holds no vault token: {error}.") from None

    async def _fetched(self, wanted: Wanted, call: TokenCall, deadline: float, *, joins: bool) -> Token:
        try:
            async with asyncio.timeout_at(deadline if joins else None):
                return await self._fetching.join(
                    (wanted, call.min_ttl), lambda: self._fetch(wanted, call, deadline)
                )
        except TimeoutError:
            raise DeadlineExceeded(str(DeadlineExceeded.__doc__)) from None

    async def _fetch(self, wanted: Wanted, call: TokenCall, deadline: float) -> Token:
        answer = await self._asking.ask(call, deadline=deadline)
        try:
            token = from_reply(answer.reply, service=call.service, owner=call.owner)
        except ValueError as error:
            raise VaultError(str(error)) from None
        self._memory.keep(wanted, token, expires_in=answer.reply.expires_in, asked_at=answer.asked_at)
        return token

    async def _reject(self, call: RejectedCall, deadline: float) -> None:
        await self._asking.ask(call, deadline=deadline)
