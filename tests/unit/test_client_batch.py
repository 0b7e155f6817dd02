"""Calls are spread over as few messages as the protocol's limits let."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispenser.client import batch
from dispenser.protocol import MAX_CALLS, MalformedFrame


def within(limit: int, items: Sequence[int]) -> list[int]:
    if sum(items) > limit:
        raise MalformedFrame
    return list(items)


@given(st.lists(st.integers(0, 100), max_size=300))
def test_every_item_is_sent_once_and_in_order(items: list[int]) -> None:
    messages = list(batch.messages(items, lambda part: within(200, part)))
    assert [item for message in messages for item in message] == items
    assert all(sum(message) <= 200 and 0 < len(message) <= MAX_CALLS for message in messages)


def test_what_fits_into_one_message_is_one() -> None:
    assert list(batch.messages(range(MAX_CALLS), list)) == [list(range(MAX_CALLS))]


def test_an_item_that_never_fits_is_an_error() -> None:
    with pytest.raises(MalformedFrame):
        list(batch.messages([1, 999, 1], lambda part: within(200, part)))
