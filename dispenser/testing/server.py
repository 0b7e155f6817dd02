import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from dispenser.testing.connection import Connection

_GRACE_SECONDS = 1  # for requests under way when the server stops


class Server:
    """An application on a loopback port, with a thread and an event loop of its own."""

    def __init__(self, application: ASGIApp, port: int) -> None:
        # Listening from here on: a request that is early waits for the thread.
        self._socket = socket.create_server(("127.0.0.1", port), backlog=2048)
        config = uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="oauth-emulator", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def stop(self) -> None:
        """Returns once the port is closed."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))
