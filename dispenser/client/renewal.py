"""Keeps the vault token fresh, through the door it opens."""

import asyncio
import logging
import random
import time
from typing import Final

from dispenser.client import credential
from dispenser.client.credential import Credential
from dispenser.client.errors import VaultError, refusal
from dispenser.client.retry import backoff_seconds
from dispenser.client.transport import Transport
from dispenser.protocol import DEFAULT_DEADLINE_SECONDS, Code, RenewCall

_CAP_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


class Renewal:
    """Renews at a share of the token's life, and when that fails again with backoff: there is time left."""

    def __init__(self, transport: Transport, held: Credential) -> None:
        self._transport = transport
        self._one_at_a_time = asyncio.Lock()
        self._attempt = 0
        self._schedule(held.renewal_in_seconds(time.time()))

    async def run(self) -> None:
        """Until cancelled, or the token does not expire."""
        while self._due is not None:
            await asyncio.sleep(max(0.0, self._due - _now()))
            await self.renew_if_due()

    async def renew_if_due(self) -> None:
        """Leaves a token as fresh as can be had now. A failure is logged: the old one may still serve."""
        if not self._is_due():
            return
        async with self._one_at_a_time:
            if self._is_due():
                await self._renew()

    async def _renew(self) -> None:
        try:
            fresh = await self._fresh()
        except VaultError as error:
            _log.warning("The vault token was not renewed: %s", error)
            self._schedule(
                backoff_seconds(self._attempt, cap_seconds=_CAP_SECONDS, entropy=random.random())  # noqa: S311 - jitter
            )
            self._attempt += 1
            return
        await self._transport.adopt(fresh)
        self._attempt = 0
        # Just issued: its own clock, not ours, says how long it lives.
        self._schedule(fresh.renewal_in_seconds(fresh.issued_at or time.time()))

    async def _fresh(self) -> Credential:
        deadline = _now() + DEFAULT_DEADLINE_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                reply = await self._transport.ask(RenewCall(), deadline=deadline)
        except TimeoutError:
            raise VaultError("no answer within the deadline") from None
        if reply.code is not Code.OK:
            raise refusal(reply)
        try:
            return credential.read(reply.access_token or "")
        except ValueError as error:
            raise VaultError(f"the vault's answer holds no vault token: {error}") from None

    def _schedule(self, in_seconds: float | None) -> None:
        self._due = None if in_seconds is None else _now() + in_seconds

    def _is_due(self) -> bool:
        return self._due is not None and _now() >= self._due


def _now() -> float:
    return asyncio.get_running_loop().time()
