"""The kept seeds, findings of old among them, meet nothing unexpected; nor does what is near them."""

import pytest
from fuzz.entries import ENTRIES, SEEDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEPT = {name: sorted((SEEDS / name).iterdir()) for name in ENTRIES}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_has_seeds(name: str) -> None:
    assert len(KEPT[name]) >= 5


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, seed) for name, seeds in KEPT.items() for seed in seeds],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_seed_is_read_or_refused_as_promised(name: str, seed: object) -> None:
    ENTRIES[name](seed.read_bytes())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_near_a_seed_is_read_or_refused_as_promised(name: str, data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(KEPT[name])).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(seed)))
        seed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    ENTRIES[name](bytes(seed))
