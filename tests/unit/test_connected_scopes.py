import pytest
from builders import NOW, a_service

from dispenser.cli.grants import _say_connected
from dispenser.cli.output import aside
from shared.model import Grant, GrantId, GrantState, Owner


def a_grant(*scopes: str) -> Grant:
    return Grant(
        id=GrantId("grant-1"),
        service=a_service().name,
        owner=Owner("ada"),
        state=GrantState.ACTIVE,
        generation=1,
        scopes=scopes,
        sealed_credential=None,
        credential_fingerprint=b"",
        sealed_token=None,
        token_expires_at=None,
        refresh_at=None,
        failures=0,
        last_error=None,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("granted", "missing"), [(("tasks:read",), "Not granted: tasks:write."), (("tasks:write",), None)]
)
def test_whoever_connects_is_told_which_scopes_are_missing(
    granted: tuple[str, ...], missing: str | None
) -> None:
    with aside.capture() as said:
        _say_connected(a_grant(*granted), a_service(scopes=("tasks:write",)))
    text = " ".join(said.get().split())
    assert f"scopes granted: {' '.join(granted)}" in text
    assert (missing in text) if missing else ("Not granted" not in text)
