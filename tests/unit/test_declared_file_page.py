"""The page on the declared file knows every field, and no other."""

import re
from pathlib import Path

from dispenser import declared_schema
from shared.model import Provider

PAGE = (Path(__file__).parents[2] / "docs" / "declared-file.md").read_text()
FIRST_CELLS = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)


def test_every_field_of_a_provider_is_listed() -> None:
    listed = set(re.findall(r"[a-z_]+", " ".join(FIRST_CELLS)))
    expanded = listed | {f"assertion{tail}" for tail in ("_subject", "_audience", "_key_id")}
    assert set(declared_schema.WrittenProvider.model_fields) <= expanded


def test_the_defaults_are_the_models() -> None:
    said = dict(re.findall(r"^\| `([a-z_]+)` \| `(\w+)`", PAGE, re.MULTILINE))
    fields = Provider.__dataclass_fields__
    assert said
    for name, default in said.items():
        if name in fields:
            assert str(fields[name].default).lower() == default, name
