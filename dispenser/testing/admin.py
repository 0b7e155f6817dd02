from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dispenser.testing.faults import from_fields
from dispenser.testing.provider import Provider


class Admin:
    """The emulator's own endpoints under `/_emulator`, for tests in other processes."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def requests(self, _request: Request) -> Response:
        """What came in: counts, and every record."""
        journal = self._provider.journal
        return JSONResponse(
            {
                "token_calls": journal.token_calls,
                "refreshes": journal.refreshes,
                "reuses": journal.reuses,
                "overlaps": journal.overlaps,
                "most_at_once": journal.most_at_once,
                "most_in_a_second": journal.most_in_a_second,
                "outcomes": journal.outcomes,
                "requests": [asdict(record) for record in journal.received],
                "api_calls": [asdict(call) for call in journal.api_calls],
            }
        )

    async def queue_faults(self, request: Request) -> Response:
        """A list such as `[{"fault": "Status", "status": 503}]` for the next token requests."""
        try:
            self._provider.faults.next(*[from_fields(fields) for fields in await request.json()])
        except (ValueError, TypeError, AttributeError) as mistake:
            return JSONResponse({"error": str(mistake)}, status_code=400)
        return Response(status_code=204)

    async def clear_faults(self, _request: Request) -> Response:
        """No more faults; requests that hang go on."""
        self._provider.faults.clear()
        return Response(status_code=204)

    async def issue(self, request: Request) -> Response:
        """A refresh token as if `owner` had consented to `scopes`."""
        fields = await request.json()
        token = self._provider.authority.consented(
            fields.get("owner", self._provider.default_owner),
            tuple(fields.get("scopes", ())),
            fields.get("client_id", self._provider.client_id),
            self._provider.behaviour,
        )
        return JSONResponse({"refresh_token": token.value})

    async def revoke_all(self, _request: Request) -> Response:
        """Every token dies."""
        self._provider.authority.tokens.revoke_all()
        return Response(status_code=204)
