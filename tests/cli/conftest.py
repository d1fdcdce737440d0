"""The command over an in-process cluster: the real client and coordinator, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.client import Cluster
from tests.support.command import Command
from tests.support.inprocess import InProcess


def echo(**params: Any) -> Any:
    return params


def boom(text: str = "bad") -> Any:
    raise ValueError(text)


async def held(**params: Any) -> Any:
    await asyncio.Event().wait()  # until it is cancelled
    return params


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    functions = {"echo": echo, "boom": boom, "held": held}
    with (
        InProcess(tmp_path_factory.mktemp("cli") / "home", functions, nodes=2, slots=3) as home,
        Cluster.over(home.wire(), timeout_s=10) as client,
    ):
        client.wait_for_skill("echo", nodes=2)
        yield home


@pytest.fixture
def run(here: InProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("OPENCLAW_HOME", str(tmp_path / "home"))
    for name in ("OPENCLAW_ADDRESS", "RAY_ADDRESS", "OPENCLAW_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    return Command(here)
