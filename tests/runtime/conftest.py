"""Fixtures of the runtime tests: a coordinator on a real file, and an agent that is moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fakes import HandAgent, Hub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(tmp_path / "home") as made:
        yield made


@pytest.fixture
async def agent(hub: Hub) -> HandAgent:
    """Node n1 with two slots, offering echo."""
    made = HandAgent(hub)
    await made.register()
    return made
