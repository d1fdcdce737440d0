"""A job for `ray job submit`: it connects to the cluster it runs in, maps over files, and prints a summary.

    ray job submit --working-dir . -- python examples/nightly.py [FOLDER]

The tasks are kept by the cluster, not by the job: run it again on the same day, and what was done is not done again.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import openclaw_ray as oc


@oc.skill(timeout="1m", retries=2)
def lines_of(path: str) -> dict[str, int]:
    text = Path(path).read_text("utf-8", errors="replace")
    return {"lines": text.count("\n"), "bytes": len(text.encode())}


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else oc.__file__).resolve()
    paths = sorted((folder if folder.is_dir() else folder.parent).rglob("*.py"))
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    cluster = oc.connect()  # inside a job Ray says where: RAY_ADDRESS
    cluster.register(lines_of)
    tasks = cluster.map(
        "lines_of",
        [{"path": str(p)} for p in paths],
        key=lambda params: f"nightly:{day}:{params['path']}",
        group=f"nightly-{day}",
        priority="low",
    )
    found = oc.gather(tasks, on_error="return", timeout="10m")
    failed = [(path, error) for path, error in zip(paths, found, strict=True) if isinstance(error, oc.OpenClawError)]
    counted = [one for one in found if isinstance(one, dict)]
    print(f"{len(counted)} files, {sum(c['lines'] for c in counted):,} lines, {len(failed)} failed")
    for path, error in failed:
        print(f"  {path}: {error}")
    cluster.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
