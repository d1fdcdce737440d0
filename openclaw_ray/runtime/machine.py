"""What this machine is and what it is doing, by psutil and the operating system's own words."""

from __future__ import annotations

import ipaddress
import platform
import shutil
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from openclaw_ray.models.node import Machine, Usage

#: Tailscale gives addresses from here (CGNAT range of RFC 6598), on an interface that says its name.
_TAILSCALE = ipaddress.ip_network("100.64.0.0/10")


def describe(capacity: dict[str, Any], port: int | None) -> Machine:
    """The machine as its agent registers it.

    Args:
        capacity: Amounts for leases, as people write them (cpu, memory in bytes, gpu, custom).
        port: Of the raylet's node manager.
    """
    return Machine(
        hostname=socket.gethostname(),
        platform=platform.system().lower(),
        arch=platform.machine(),
        ip_address=_address(),
        tailscale_ip=_tailscale_address(),
        port=port,
        capacity=capacity,
        gpus=_gpus(),
        python=".".join(platform.python_version_tuple()[:2]),
        version=metadata.version("openclaw-ray"),
    )


def usage(folder: Path, running: int) -> Usage:
    """Percentages since the last call (CPU) and now (memory, disk of `folder`)."""
    memory = psutil.virtual_memory()
    return Usage(
        cpu_usage=_percent(psutil.cpu_percent(None)),
        memory_usage=_percent(memory.percent),
        disk_usage=_percent(psutil.disk_usage(str(folder)).percent),
        memory_free=int(memory.available),
        running=running,
    )


def _percent(value: float) -> float:
    return min(100.0, max(0.0, float(value)))


def _addresses() -> list[tuple[str, str]]:
    return [
        (interface, a.address)
        for interface, addresses in sorted(psutil.net_if_addrs().items())
        for a in addresses
        if _is_ipv4(a.family)
    ]


def _is_ipv4(family: object) -> bool:
    return family == socket.AF_INET


def _address() -> str | None:
    """The first address that others may reach; the loopback one where there is no other."""
    found = [a for _, a in _addresses() if not a.startswith("127.") and not _is_tailscale(a)]
    return found[0] if found else "127.0.0.1"


def _is_tailscale(address: str) -> bool:
    return ipaddress.ip_address(address) in _TAILSCALE


def _tailscale_address() -> str | None:
    for interface, address in _addresses():
        if _is_tailscale(address) and (interface.startswith(("tailscale", "utun")) or shutil.which("tailscale")):
            return address
    return None


def _gpus() -> list[dict[str, Any]]:
    """NVIDIA cards by their own tool; an empty list where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    cards = [line.split(", ") for line in text.splitlines()]
    return [{"index": int(c[0]), "name": c[1], "memory": int(c[2]) * 2**20} for c in cards if len(c) == 3]
