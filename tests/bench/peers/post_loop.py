"""The peer: refreshes with httpx alone. Nothing is journaled, nothing committed, nothing told."""

import asyncio
import json
import sys
import time

import httpx


async def main(
    token_url: str, client_id: str, client_secret: str, refresh_tokens: list[str], at_once: int
) -> None:
    left = iter(refresh_tokens)
    async with httpx.AsyncClient(auth=(client_id, client_secret), trust_env=False) as client:

        async def post() -> None:
            for refresh_token in left:
                form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
                answer = await client.post(token_url, data=form)
                answer.raise_for_status()

        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(post() for _ in range(at_once)))
        print(json.dumps({"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}))


if __name__ == "__main__":
    given = json.load(sys.stdin)
    asyncio.run(main(**given))
