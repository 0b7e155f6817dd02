from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.refreshing import Vault

from dispenser.testing import Emulator


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    """One with an emulated provider, nothing declared and no refresher started."""
    with Emulator() as emulator:
        vault = Vault(tmp_path, emulator)
        await vault.open()
        yield vault
        await vault.close()
