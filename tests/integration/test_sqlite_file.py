"""How the file of an embedded vault gets its write-ahead log."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from shared.adapters.sql.sqlite_file import write_ahead


def test_a_switch_that_is_refused_is_tried_again(tmp_path: Path) -> None:
    asked_again = Event()
    statements: list[str] = []

    def said(statement: str) -> None:
        statements.append(statement)
        if len(statements) > 1:
            asked_again.set()

    busy = sqlite3.connect(tmp_path / "file", isolation_level=None)
    busy.execute("CREATE TABLE kept (number INTEGER)")
    busy.execute("BEGIN IMMEDIATE")
    switching = sqlite3.connect(tmp_path / "file", timeout=0, isolation_level=None, check_same_thread=False)
    switching.set_trace_callback(said)
    with ThreadPoolExecutor(1) as thread:
        switched = thread.submit(write_ahead, switching, cast("Any", None))
        assert asked_again.wait(30)
        busy.execute("ROLLBACK")
        busy.close()
        switched.result(30)
    assert switching.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    switching.close()


def test_a_switch_that_can_never_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database" * 100)
    connection = sqlite3.connect(tmp_path / "file")
    with pytest.raises(sqlite3.DatabaseError):
        write_ahead(connection, cast("Any", None))
    connection.close()
