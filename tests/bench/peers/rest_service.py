"""The peer: what people would write instead. A bearer, rights in a set, a sealed token in Redis."""

import os
import sys
from typing import Annotated

import redis.asyncio
import uvicorn
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, Header, HTTPException

BEARER = "bench"


def application(cache: redis.asyncio.Redis, key: AESGCM) -> FastAPI:
    app = FastAPI()
    allowed = {("tracker", "time-tracker")}

    @app.get("/v1/agents/{agent}/credentials/{service}")
    async def credential(agent: str, service: str, authorization: Annotated[str, Header()]) -> dict[str, str]:
        if authorization != f"Bearer {BEARER}" or (agent, service) not in allowed:
            raise HTTPException(403)
        sealed = await cache.get(f"rest:{service}")
        return {"access_token": key.decrypt(sealed[:12], sealed[12:], None).decode()}

    return app


def main(cache_url: str, port: int) -> None:
    key = AESGCM(AESGCM.generate_key(256))
    nonce = os.urandom(12)
    with redis.Redis.from_url(cache_url) as filled:
        filled.set("rest:time-tracker", nonce + key.encrypt(nonce, os.urandom(300).hex().encode(), None))
    print("ready", flush=True)
    # One that waits for a connection where all are in use: the plain one fails above a hundred.
    pool = redis.asyncio.BlockingConnectionPool.from_url(cache_url, timeout=None)
    uvicorn.run(
        application(redis.asyncio.Redis(connection_pool=pool), key),
        port=port,
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
