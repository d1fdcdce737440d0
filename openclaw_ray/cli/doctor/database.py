"""Checks of the database file; they need no cluster, and do not disturb one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openclaw_ray.cli.doctor.finding import Finding, fail, ok, warn
from openclaw_ray.display import bytes_, duration, seconds_since
from openclaw_ray.errors import Corrupt, OpenClawError, SchemaTooNew
from openclaw_ray.storage.checkup import Checkup, look
from openclaw_ray.storage.lock import holder_of

#: A check that takes longer is cut: the doctor is asked often. `backup` checks the whole file.
CHECK_S = 3.0
BACKUP_WARN_S = 7 * 86_400.0
#: A WAL is cut at 64 MiB; one this large means that something keeps it from being brought in.
WAL_WARN_BYTES = 512 << 20


def check(path: Path) -> Iterator[Finding]:
    """What can be said of the file at `path`."""
    if not path.exists():
        yield ok("database", f"none at {path} yet; `up` makes it")
        return
    holder = holder_of(path)
    try:
        found = look(path, CHECK_S)
    except SchemaTooNew as error:
        yield fail("database", error.message, "start the newer version of openclaw-ray")
        return
    except Corrupt as error:
        yield fail("database", error.message, "openclaw-ray down, then openclaw-ray restore BACKUP --replace")
        return
    except OpenClawError as error:
        yield fail("database", error.message, error.hint or "check owner and mode")
        return
    yield _integrity(path, found, holder)
    yield from _wal(found)
    yield _backup(found)


def _integrity(path: Path, found: Checkup, holder: dict[str, object] | None) -> Finding:
    used = f"held by pid {holder['pid']}" if holder and "pid" in holder else "in use" if holder else "not in use"
    text = f"{bytes_(found.file_bytes)}, schema {found.schema}, {used}"
    if found.problems:
        return fail(
            "database", f"{path} is damaged: {found.problems[0]}",
            "openclaw-ray down, then openclaw-ray restore BACKUP --replace",
        )  # fmt: skip
    if found.schema < found.schema_known:
        text += f" (the next start brings it to {found.schema_known})"
    if not found.whole:
        return ok("database", f"{text}, looked at for {duration(found.seconds)} only: `backup` checks all of it")
    return ok("database", f"{text}, checked in {duration(found.seconds)}")


def _wal(found: Checkup) -> Iterator[Finding]:
    if found.wal_bytes > WAL_WARN_BYTES:
        yield warn(
            "write-ahead log", f"{bytes_(found.wal_bytes)} are not in the file yet",
            "end programs that read the database for long",
        )  # fmt: skip


def _backup(found: Checkup) -> Finding:
    if found.last_backup is None:
        return warn("backup", "there has been none", "openclaw-ray backup --to FOLDER/")
    age_s = seconds_since(found.last_backup)
    text = f"the last one was made {duration(age_s)} ago"
    if found.newest_change is not None and age_s > BACKUP_WARN_S and found.newest_change > found.last_backup:
        return warn("backup", text, "openclaw-ray backup --to FOLDER/")
    return ok("backup", text)
