"""Checks of this machine: versions, folders, disk, token, and processes that should have ended. Need no cluster."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

from openclaw_ray.cli.doctor.finding import Finding, fail, ok, warn
from openclaw_ray.client.joining import target, use_token
from openclaw_ray.cluster_run import Run, session_processes
from openclaw_ray.config import Settings
from openclaw_ray.display import bytes_
from openclaw_ray.errors import OpenClawError
from openclaw_ray.skills.processes import leftovers
from openclaw_ray.storage.checkup import SQLITE_VERSION
from openclaw_ray.storage.lock import holder_of

#: The oldest Ray with token authentication as we use it.
RAY_MIN = (2, 52)
#: Below the first a backup or an upgrade may not fit; below the second commits will be refused soon.
FREE_WARN_BYTES, FREE_FAIL_BYTES = 2 << 30, 200 << 20
LOGS_WARN_BYTES = 1 << 30
#: SQLite's locks and its WAL cannot be trusted there (https://www.sqlite.org/wal.html, "all processes ... same host").
NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "9p", "afs", "ceph", "glusterfs",
    "lustre", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "sshfs", "vboxsf", "prl_fs", "drvfs",
})  # fmt: skip


def check(settings: Settings, run: Run | None) -> Iterator[Finding]:
    """Every check of this machine, in the order in which one builds on the other."""
    yield versions()
    yield home(settings.home)
    yield disk(settings.home)
    yield file_system(settings.home)
    yield from logs(settings.home / "logs")
    yield token(settings, run)
    yield from strays(settings.home, run)


def versions() -> Finding:
    """Python, Ray and ourselves; a Ray that is too old has no token authentication."""
    ray = metadata.version("ray")
    ours = metadata.version("openclaw-ray")
    text = f"openclaw-ray {ours}, Python {platform.python_version()}, Ray {ray}, SQLite {SQLITE_VERSION}"
    if tuple(int(part) for part in ray.split(".")[:2] if part.isdigit()) < RAY_MIN:
        return fail("versions", text, f"pip install 'ray>={RAY_MIN[0]}.{RAY_MIN[1]}'")
    return ok("versions", text)


def home(folder: Path) -> Finding:
    """The folder of database, token and logs: ours to write, nobody else's to read."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(nearest, os.W_OK | os.X_OK) or not nearest.is_dir():
        mode = nearest.stat().st_mode & 0o7777
        return fail("home", f"{nearest} (mode {mode:04o}) may not be written", "chmod it, or set OPENCLAW_HOME")
    if nearest != folder:
        return ok("home", f"{folder} is not there yet; `up` makes it")
    secret = folder / "token"
    if secret.exists() and secret.stat().st_mode & 0o077:
        return fail("home", f"{secret} can be read by others", f"chmod 600 {secret}")
    return ok("home", f"{folder} is writable")


def disk(folder: Path) -> Finding:
    """Room for the database to grow, and for a copy of it."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    free = psutil.disk_usage(str(nearest)).free
    text = f"{bytes_(free)} free at {nearest}"
    if free < FREE_FAIL_BYTES:
        return fail("disk", text, "make room: submits are refused when the disk is full")
    if free < FREE_WARN_BYTES:
        return warn("disk", text, "make room: a backup or an upgrade needs as much as the database")
    return ok("disk", text)


def file_system(folder: Path) -> Finding:
    """A database must lie on a disk of this machine."""
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    real = Path(os.path.realpath(folder))
    mount = next((one for one in (real, *real.parents) if one in mounts), None)
    kind = mounts[mount].lower() if mount is not None else ""
    if kind in NETWORK_FILE_SYSTEMS:
        return fail(
            "file system", f"{folder} lies on {kind}", "set OPENCLAW_HOME to a folder on a disk of this machine"
        )
    return ok("file system", f"{kind or 'unknown'}, mounted at {mount}" if mount else "its type is not told here")


def logs(folder: Path) -> Iterator[Finding]:
    """How much the logs hold, where there are any."""
    if not folder.is_dir():
        return
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    if size > LOGS_WARN_BYTES:
        yield warn("logs", f"{bytes_(size)} in {folder}", "lower OPENCLAW_LOG_BYTES_MAX or OPENCLAW_LOG_FILES_MAX")
    else:
        yield ok("logs", f"{bytes_(size)} in {folder}")


def token(settings: Settings, run: Run | None) -> Finding:
    """Whether Ray would be given the token that the cluster asks for; it says nothing of it when it is missing."""
    if run is None and settings.address is None and not os.environ.get("RAY_ADDRESS"):
        return ok("token", "no cluster is named here")
    try:
        chosen = target(None, settings.home, settings.address)
        trial = dict(os.environ)
        use_token(chosen, trial)
    except OpenClawError as error:
        return fail("token", error.message, error.hint or "")
    if chosen.token_path is not None:
        return ok("token", f"token mode, from {chosen.token_path}")
    mode = trial.get("RAY_AUTH_MODE")
    if mode == "token":
        return ok("token", "token mode, from the environment")
    if Path("~/.ray/auth_token").expanduser().exists() and chosen.address != "auto":
        return warn(
            "token", "~/.ray/auth_token is there and RAY_AUTH_MODE is not set", "export RAY_AUTH_MODE=token, if "
            f"{chosen.address} asks for it",
        )  # fmt: skip
    return ok("token", f"no token is sent to {chosen.address}")


def strays(folder: Path, run: Run | None) -> Iterator[Finding]:
    """Processes of a cluster that is gone, and of attempts whose agent is gone."""
    left = session_processes(run.session) if run is not None and run.session and not run.alive else []
    if left:
        yield warn("leftovers", f"{len(left)} processes of a cluster that is gone", "openclaw-ray down")
    orphans = 0
    for node in sorted(folder.glob("nodes/*")):
        if holder_of(node / "agent") is None:
            orphans += len(leftovers(node / "scratch"))
    if orphans:
        yield warn("leftovers", f"{orphans} processes of attempts whose agent is gone", "openclaw-ray up ends them")
    if not left and not orphans:
        yield ok("leftovers", "no process that should have ended")
