"""The AsyncAPI document says what the code does."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispenser.protocol import MAX_CALLS, ChildCall, Code, RejectedCall, RenewCall, Reply, TokenCall
from shared import topology
from shared.messages import EventType

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_exchanges_and_keys_are_the_topologys() -> None:
    channels = DOCUMENT["channels"]
    assert channels["requests"]["address"] == topology.RPC_KEY
    assert channels["requests"]["bindings"]["amqp"]["exchange"]["name"] == topology.RPC_EXCHANGE
    assert channels["events"]["bindings"]["amqp"]["exchange"]["name"] == topology.EVENTS_EXCHANGE


def test_every_event_is_there() -> None:
    assert set(DOCUMENT["channels"]["events"]["parameters"]["event"]["enum"]) == {e.value for e in EventType}


@pytest.mark.parametrize(
    ("schema", "noun", "more"),
    [
        ("tokenCall", TokenCall, {"op"}),
        ("rejectedCall", RejectedCall, {"op"}),
        ("renewCall", RenewCall, {"op"}),
        ("childCall", ChildCall, {"op"}),
        ("reply", Reply, set()),
    ],
)
def test_frames_have_the_fields_of_their_nouns(schema: str, noun: type, more: set[str]) -> None:
    assert set(SCHEMAS[schema]["properties"]) == {field.name for field in fields(noun)} | more


def test_codes_and_limits_are_the_protocols() -> None:
    assert SCHEMAS["reply"]["properties"]["code"]["enum"] == [code.value for code in Code]
    calls = DOCUMENT["components"]["messages"]["request"]["payload"]["properties"]["calls"]
    assert calls["maxItems"] == MAX_CALLS


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        place = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for child in node.values() for found in _references(child)]
    if isinstance(node, list):
        return [found for child in node for found in _references(child)]
    return []
