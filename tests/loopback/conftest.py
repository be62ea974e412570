"""A running validator, for the tests that need no special one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.loopback.rig import Rig, running_validator


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_validator(tmp_path) as rig:
        yield rig
