"""Under what conditions figures were taken: without them a figure says nothing."""

from __future__ import annotations

import os
import platform
import statistics
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.plan import Plan
from openclaw_ray.config import load_settings

#: Where folders are is nobody's business, and nobody's reason for a figure.
_UNTOLD = {"home", "address", "skill_roots", "test_data", "namespace", "metrics_port", "metrics_host"}
_SYNCS = 30


def conditions(plan: Plan, sqlite: str) -> dict[str, Any]:
    """Machine, versions, load and settings, as plain JSON values."""
    changed = {name: value for name, value in settings().items() if value != _defaults()[name]}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": f"{_cpu_count()} x {_cpu_model()}",
        "load_average": load_average(),
        "python": platform.python_version(),
        "ray": version("ray"),
        "sqlite": sqlite,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "fsync_p50_ms": round(fsync_ms(plan.folder), 3),
        "repetitions": plan.repetitions,
        "slots": plan.slots,
        "settings_changed": changed or "none",
    }


def load_average() -> list[float]:
    """Processes that ran or wanted to, over 1, 5 and 15 minutes: what others did to the figures."""
    return [round(one, 2) for one in os.getloadavg()]


def settings() -> dict[str, Any]:
    """All settings that can bear on a figure, as they are in force."""
    return {name: value for name, value in load_settings().to_json().items() if name not in _UNTOLD}


def _defaults() -> dict[str, Any]:
    from openclaw_ray.config import Settings

    return Settings().to_json()


def fsync_ms(folder: Path) -> float:
    """How long the disk below `folder` takes to keep 4 KB: no commit can be faster."""
    path = folder / "fsync-probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(times) * 1000


def _cpu_count() -> int:
    """Those that this process may use; a container has fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
