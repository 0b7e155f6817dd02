"""Every agent waits in its own lane, and the lanes take turns."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispenser.lanes import MOST_WAITING, Lanes, Place

MANY = 10_000


def test_whoever_comes_first_begins_at_once() -> None:
    assert Lanes[str](2).come("tracker", 1, 10, "a") is Place.GO


def test_a_request_waits_for_a_slot_and_gets_the_next_that_is_free() -> None:
    lanes = Lanes[str](1)
    assert lanes.come("tracker", 1, 10, "a") is Place.GO
    assert lanes.come("tracker", 1, 10, "b") is Place.WAIT
    assert lanes.ended("tracker") == ["b"]
    assert lanes.ended("tracker") == []


def test_an_agent_has_no_more_in_hand_than_it_may_though_slots_are_free() -> None:
    lanes = Lanes[str](100)
    assert [lanes.come("tracker", 1, 2, name) for name in "abc"] == [Place.GO, Place.GO, Place.WAIT]
    assert lanes.come("summarizer", 1, 2, "d") is Place.GO
    assert lanes.ended("tracker") == ["c"]


def test_a_request_of_more_calls_than_its_agent_may_have_goes_alone() -> None:
    lanes = Lanes[str](100)
    assert lanes.come("tracker", 64, 8, "big") is Place.GO
    assert lanes.come("tracker", 1, 8, "small") is Place.WAIT
    assert lanes.ended("tracker", 63) == ["small"]


def test_one_that_stands_aside_leaves_its_slot_to_others_and_still_counts_as_its_agents() -> None:
    lanes = Lanes[str](1)
    lanes.come("tracker", 1, 1, "a")
    assert lanes.come("summarizer", 1, 1, "b") is Place.WAIT
    assert lanes.come("tracker", 1, 1, "c") is Place.WAIT
    assert lanes.aside() == ["b"]
    lanes.back()
    assert lanes.ended("summarizer") == []
    assert lanes.ended("tracker") == ["c"]


def test_whoever_has_gone_is_not_called() -> None:
    lanes = Lanes[str](1)
    lanes.come("tracker", 1, 10, "a")
    for name in "bc":
        lanes.come("tracker", 1, 10, name)
    lanes.withdraw("tracker", "b")
    assert lanes.ended("tracker") == ["c"]


def test_a_lane_is_bounded_and_full_for_its_own_agent_alone() -> None:
    lanes = Lanes[int](1)
    places = Counter(lanes.come("flood", 1, 10, number) for number in range(MANY))
    assert places == {Place.GO: 1, Place.WAIT: MOST_WAITING, Place.FULL: MANY - MOST_WAITING - 1}
    assert lanes.come("tracker", 1, 10, -1) is Place.WAIT


@pytest.mark.parametrize("calls", [1, 64])
def test_a_newcomer_is_next_however_many_others_wait(calls: int) -> None:
    lanes = Lanes[str](1)
    for _ in range(MOST_WAITING):
        lanes.come("flood", calls, 64, "flood")
    lanes.come("tracker", 1, 64, "mine")
    turns = lanes.ended("flood", calls)
    assert "mine" in [*turns, *lanes.ended("flood", calls)]


def test_who_rested_gets_no_more_than_its_turns_for_it() -> None:
    lanes = Lanes[str](1)
    for _ in range(200):
        lanes.come("busy", 1, 10, "busy")
    for _ in range(50):
        lanes.ended("busy")
    for _ in range(100):
        lanes.come("rested", 1, 10, "rested")
    turns, current = [], "busy"
    for _ in range(100):
        [current] = lanes.ended(current)
        turns.append(current)
    assert abs(turns.count("busy") - turns.count("rested")) <= 1


def test_shares_are_of_calls_and_not_of_requests() -> None:
    lanes, served = Lanes[tuple[str, int]](1), Counter[str]()
    sizes = {"batches": 64, "singles": 1}
    for _ in range(MOST_WAITING):
        for agent, calls in sizes.items():
            lanes.come(agent, calls, 64, (agent, calls))
    current = ("batches", 64)
    for _ in range(500):
        [current] = lanes.ended(*current)
        served[current[0]] += current[1]
    assert abs(served["batches"] - served["singles"]) <= 64


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 5))
def test_bounds_hold_and_nobody_is_forgotten(seed: int, slots: int, most: int) -> None:
    chance, lanes = random.Random(seed), Lanes[tuple[str, int]](slots)
    begun: list[tuple[str, int]] = []
    waiting = 0
    for _ in range(400):
        if chance.random() < 0.5 or not begun:
            request = (chance.choice("abc"), chance.randint(1, 3))
            place = lanes.come(*request, most, request)
            begun += [request] if place is Place.GO else []
            waiting += place is Place.WAIT
        else:
            ended = begun.pop(chance.randrange(len(begun)))
            turns = lanes.ended(*ended)
            waiting -= len(turns)
            begun += turns
        in_hand = Counter[str]()
        for agent, calls in begun:
            in_hand[agent] += calls
        # The last to begin may take more than was free, as long as something was.
        assert sum(in_hand.values()) <= slots + 2
        assert all(calls <= max(most, 3) for calls in in_hand.values())
    while begun:
        turns = lanes.ended(*begun.pop())
        waiting -= len(turns)
        begun += turns
    assert waiting == 0
    assert lanes._lanes == {}
