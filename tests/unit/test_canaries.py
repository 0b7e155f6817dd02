"""The search for secrets finds them in every form in which they could have been written down."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from acceptance import canaries
from acceptance.canaries import Canaries
from hypothesis import given
from hypothesis import strategies as st

SECRET = "c4nary+/=&_~ é 7f3a"
FORMS = {
    "raw": lambda raw: raw,
    "utf-16": lambda raw: raw.decode().encode("utf-16-le"),
    "hex": lambda raw: raw.hex().encode(),
    "HEX": lambda raw: raw.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "percent-encoded": lambda raw: quote(raw, safe="").encode(),
    "all percent-encoded": lambda raw: "".join(f"%{byte:02X}" for byte in raw).encode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@given(before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_a_secret_is_found_between_any_others(form, before: bytes, after: bytes) -> None:  # type: ignore[no-untyped-def]
    searched = Canaries()
    searched.add("refresh token", SECRET)
    # Other texts of an encoded whole are in the same encoding; a text in UTF-8 stays one.
    text = before.hex().encode() + SECRET.encode() + after.hex().encode()
    assert searched.in_bytes(form(text))
    assert not searched.in_bytes(form(text.replace(b"c4nary", b"c4nery")))


def test_what_is_found_is_told_by_its_kind_and_never_shown() -> None:
    searched = Canaries()
    searched.add("client secret", SECRET)
    searched.add("access token", "another-one-of-them")
    assert searched.in_bytes(base64.b64encode(SECRET.encode())) <= {
        "client secret, in base64",
        "client secret, in base64url",
    }
    assert searched.only("access token").in_bytes(SECRET.encode()) == set()


def test_a_folder_is_searched_to_its_end_and_over_the_seams_of_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canaries, "CHUNK_BYTES", 50)
    searched = Canaries()
    searched.add("access token", SECRET)
    (tmp_path / "deep").mkdir()
    for offset in range(60):
        (tmp_path / "deep" / f"{offset:02}").write_bytes(bytes(offset) + SECRET.encode() + bytes(9))
    (tmp_path / "innocent.json").write_text(json.dumps({"event": "nothing here"}))
    assert len(searched.in_files(tmp_path)) == 60


def test_a_place_that_is_not_there_is_no_place_without_secrets(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Canaries().in_files(tmp_path / "gone")
