"""An export says what the audit says, in forms that others read."""

import json
from dataclasses import replace
from datetime import datetime

import pytest
from builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from dispenser.audit_export import cef, head, otel, parsed_head, unwrapped, wrapped
from shared import audit_line
from shared.merkle import leaf_hash
from shared.model import AuditRecord

RECORD = AuditRecord(
    writer="serve-1",
    sequence=7,
    at=NOW,
    action="token.denied",
    outcome="denied",
    agent="tracker",
    owner="ada",
    service="time-tracker",
    generation=3,
    scopes=("a", "b"),
    session="s1",
    reason="Policy a|b denies it.\nx=1",
)


@given(st.integers(0, 2**63), st.text())
def test_a_line_comes_back_from_an_export_byte_by_byte(position: int, purpose: str) -> None:
    line = audit_line.encode(replace(RECORD, purpose=purpose))
    exported = wrapped(position, line)
    assert unwrapped(exported) == (position, leaf_hash(line), line)
    assert json.loads(exported)["purpose" if purpose else "agent"] == (purpose or "tracker")


@pytest.mark.parametrize("line", [b"", b"{}", b'{"position":01,"leaf_hash":"' + b"a" * 64 + b'",', b"\xff"])
def test_what_is_no_exported_line_is_told(line: bytes) -> None:
    assert unwrapped(line) is None
    assert parsed_head(line) is None


def test_what_stands_for_purged_records_comes_back() -> None:
    peaks = [leaf_hash(b"a"), leaf_hash(b"b")]
    assert parsed_head(head(6, peaks)) == (6, peaks)


def test_a_log_record_is_one_that_collectors_take() -> None:
    request = json.loads(otel(RECORD, "1.0"))
    [log_record] = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert datetime.fromtimestamp(int(log_record["timeUnixNano"]) / 1e9, NOW.tzinfo) == NOW
    assert (log_record["severityText"], log_record["body"]) == ("WARN", {"stringValue": RECORD.reason})
    attributes = {one["key"]: one["value"] for one in log_record["attributes"]}
    scopes = [{"stringValue": "a"}, {"stringValue": "b"}]
    assert attributes["token_dispenser.generation"] == {"intValue": "3"}
    assert attributes["token_dispenser.scopes"] == {"arrayValue": {"values": scopes}}
    assert "token_dispenser.purpose" not in attributes


def test_a_cef_line_escapes_what_would_end_a_field() -> None:
    line = cef(replace(RECORD, action="token.denied|x"), "1.0").decode()
    assert "\n" not in line
    assert line.startswith("CEF:0|token-dispenser|vault|1.0|token.denied\\|x|")
    assert "reason=Policy a|b denies it.\\nx\\=1" in line
    assert "cs1Label=session cs1=s1" in line


def test_who_acted_is_in_every_form() -> None:
    record = replace(RECORD, actors=("scribe", "helper"), admin="root")
    assert json.loads(unwrapped(wrapped(7, audit_line.encode(record)))[2])["actors"] == ["scribe", "helper"]
    line = cef(record, "1.0").decode()
    assert "cs6Label=admin cs6=root flexString1Label=actors flexString1=scribe, helper" in line
    request = json.loads(otel(record, "1.0"))
    attributes = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"]
    actors = [{"stringValue": "scribe"}, {"stringValue": "helper"}]
    assert {"key": "token_dispenser.actors", "value": {"arrayValue": {"values": actors}}} in attributes


@given(st.builds(replace, st.just(RECORD), purpose=st.text(), owner=st.text(), reason=st.text()))
def test_whatever_strangers_wrote_stays_one_line(record: AuditRecord) -> None:
    assert otel(record, "1").count(b"\n") == 0
    assert cef(record, "1").count(b"\n") == 0
