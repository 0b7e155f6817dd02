"""A running process follows its keyring: keys are held at once, and used from their moment on."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.keyring_view import KeyringView
from shared import keyring
from shared.errors import ConfigurationError, KeyMissing
from shared.settings import Settings

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
LEAD = timedelta(seconds=60)


class Process:
    """A process's keyring, its file, and its clock."""

    def __init__(self, home: Path) -> None:
        self.now = NOW
        self.source = KeyringSource(Settings(home=home))
        self.source.create(NOW)
        self.view = KeyringView(self.source, lambda: self.now)
        self.keys = self.view.current

    def publish(self) -> str:
        """A new cache key; returns its id."""
        fresh = keyring.new_key("cache", made=self.now, current_from=self.now + LEAD)
        self.source.change(lambda document: {**document, "keys": [*document["keys"], fresh]})
        return str(fresh["id"])


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


async def test_a_new_key_is_held_before_it_is_used(process):
    old, new = process.keys.primary_id("cache"), process.publish()
    await process.view.look()
    assert set(process.keys.cache) == {old, new}
    assert process.keys.primary_id("cache") == old


async def test_a_key_is_used_from_its_moment_on_though_the_file_stays_as_it_is(process):
    new = process.publish()
    await process.view.look()
    process.now += LEAD
    await process.view.look()
    assert process.keys.primary_id("cache") == new


@pytest.mark.parametrize(("harm", "error"), [("", ConfigurationError), (None, KeyMissing)])
async def test_a_file_that_is_harmed_leaves_the_keys_seen_last_in_use(process, harm, error):
    before = dict(process.keys.cache)
    if harm is None:
        process.source.file.path.unlink()
    else:
        process.source.file.path.write_text(harm)
    with pytest.raises(error):
        await process.view.look()
    assert process.keys.cache == before


async def test_a_file_that_is_mended_is_followed_again(process):
    text = process.source.file.path.read_text()
    process.source.file.path.write_text("garbage")
    with pytest.raises(ConfigurationError):
        await process.view.look()
    process.source.file.path.write_text(text)
    new = process.publish()
    await process.view.look()
    assert new in process.keys.cache


async def test_a_key_that_is_gone_from_the_file_is_gone_from_the_process(process):
    document = json.loads(process.source.file.path.read_text())
    document["keys"] = [entry for entry in document["keys"] if entry["use"] != "audit"]
    process.source.file.path.write_text(json.dumps(document))
    await process.view.look()
    assert not process.keys.audit
