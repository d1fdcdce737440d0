"""What this machine says of itself."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openclaw_ray.runtime import machine
from openclaw_ray.runtime.params import ParamsCache


def test_a_machine_is_described(tmp_path: Path) -> None:
    found = machine.describe({"cpu": 2, "memory": 1024}, 6380)
    assert found.hostname == socket.gethostname()
    assert (found.capacity, found.port) == ({"cpu": 2, "memory": 1024}, 6380)
    assert found.ip_address
    usage = machine.usage(tmp_path, 3)
    assert usage.running == 3
    assert 0 <= usage.memory_usage <= 100


def _interfaces(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> None:
    found = {name: [SimpleNamespace(family=socket.AF_INET, address=a)] for name, a in addresses.items()}
    monkeypatch.setattr(machine.psutil, "net_if_addrs", lambda: found)


def test_addresses_of_a_tailnet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    _interfaces(monkeypatch, lo="127.0.0.1", eth0="192.168.1.5", tailscale0="100.100.1.2")
    found = machine.describe({}, None)
    assert (found.ip_address, found.tailscale_ip) == ("192.168.1.5", "100.100.1.2")
    _interfaces(monkeypatch, lo="127.0.0.1")
    alone = machine.describe({}, None)
    assert (alone.ip_address, alone.tailscale_ip) == ("127.0.0.1", None)


def test_graphics_cards_are_asked_of_their_own_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")

    def run(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(stdout="0, NVIDIA A, 8192\nnonsense\n")

    monkeypatch.setattr(machine.subprocess, "run", run)
    assert machine.describe({}, None).gpus == [{"index": 0, "name": "NVIDIA A", "memory": 8192 * 2**20}]

    def broken(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(machine.subprocess, "run", broken)
    assert machine.describe({}, None).gpus == []


def test_the_params_cache_forgets_the_oldest() -> None:
    cache = ParamsCache(1_000)
    for i in range(5):
        cache.put(f"t{i}", "x" * 100, None)
    assert cache.get("t0") is None
    assert cache.get("t4") == ("x" * 100, None)
    cache.put("t4", "y", 3)
    assert cache.get("t4") == ("y", 3)
    cache.drop("t4")
    cache.drop("t4")
    assert cache.get("t4") is None
