"""What `dispenser init` writes for RabbitMQ: public keys alone, and every one that may have signed."""

import json
import os
from dataclasses import replace
from pathlib import Path

from dispenser.broker_configuration import FOLDER, configuration
from dispenser.wiring import broker_files
from shared import keyring

KEYS = keyring.parse(json.dumps(keyring.generate()))
OTHER = keyring.parse(json.dumps(keyring.generate()))


def test_every_key_is_named_with_its_file() -> None:
    lines = configuration(["b", "a"]).splitlines()
    assert lines[-2:] == [f"auth_oauth2.signing_keys.{k} = {FOLDER}/{k}.pem" for k in ("a", "b")]


def test_the_folder_holds_the_keys_that_are_live_and_no_longer_those_that_are_not(tmp_path: Path) -> None:
    both = replace(KEYS, signing_public=KEYS.signing_public | OTHER.signing_public)
    broker_files.write(tmp_path, both)
    folder = broker_files.write(tmp_path, OTHER)
    (key_id,) = OTHER.signing_public
    assert {path.name for path in folder.iterdir()} == {"vault.conf", f"{key_id}.pem"}
    assert (folder / "vault.conf").read_text() == configuration([key_id])


def test_rabbitmq_may_read_what_is_public_and_nothing_private_is_there(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = broker_files.write(tmp_path, KEYS)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644
        assert "PRIVATE" not in path.read_text()
