"""A secret shows itself when asked by name, and in no other way."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from shared.secret import Secret

CANARY = "s3cret-CANARY"
SECRET = Secret(CANARY)


def test_it_is_revealed_by_name() -> None:
    assert SECRET.reveal() == CANARY


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET:>40}",
        f"{SECRET!a}",
        "%s %r" % (SECRET, SECRET),  # noqa: UP031 - as a log line is made
        "{}".format(SECRET),  # noqa: UP032
        repr({"token": [SECRET]}),
        json.dumps(SECRET, default=str),
        str(ValueError(SECRET)),
    ],
)
def test_it_does_not_show(shown: str) -> None:
    assert CANARY not in shown


@pytest.mark.parametrize("save", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars])
def test_it_is_not_written_down(save: Callable[[Secret], Any]) -> None:
    with pytest.raises(TypeError) as refusal:
        save(SECRET)
    assert CANARY not in str(refusal.value)


def test_it_equals_its_like_and_no_text() -> None:
    assert Secret("é") == Secret("é")
    assert len({SECRET, Secret(CANARY), Secret("other")}) == 2
    assert SECRET != CANARY


def test_it_is_true_where_it_holds_something() -> None:
    assert SECRET
    assert not Secret("")
