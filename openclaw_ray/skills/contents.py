"""What lies in a skill's folder: every file counts for its revision, and nothing may lead out of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from openclaw_ray.core.limits import MIB
from openclaw_ray.errors import InvalidRequest

#: One skill's folder: programs and small data. Larger data belongs elsewhere, since every file is read to be hashed.
FILES_MAX, FOLDER_BYTES_MAX = 1_000, 64 * MIB
#: The folder itself, in a command.
SKILL_FOLDER = "{skill}"


def program_path(folder: Path, word: str) -> Path:
    """The file that ``{skill}/...`` means, links resolved.

    Raises:
        InvalidRequest: It lies outside of the folder.
    """
    home = folder.resolve()
    target = (home / word.removeprefix(f"{SKILL_FOLDER}/")).resolve()
    if not target.is_relative_to(home):
        raise InvalidRequest(f"{word} leads out of the skill's folder", field="command")
    return target


def folder_revision(folder: Path) -> str:
    """SHA-256 over every file: its name, whether it is executable, and its content; sorted by name.

    Of the mode only "executable" counts: the rest differs with the umask of whoever copied the folder.

    Raises:
        InvalidRequest: Too many or too large files, links that lead out, or what is neither file nor folder.
    """
    whole = hashlib.sha256()
    for name, path, info in _files(folder):
        kind, content = b"file", b""
        if stat.S_ISLNK(info.st_mode):
            kind, content = b"link", os.fsencode(path.readlink())
        else:
            content = _content(path, info.st_size)
            kind = b"program" if info.st_mode & 0o111 else b"file"
        for part in (os.fsencode(name), kind, content):
            whole.update(b"%d:" % len(part) + part)
    return whole.hexdigest()


def folder_signature(folder: Path) -> tuple[object, ...]:
    """What changes whenever a file does, without reading any: to know that a revision still holds."""
    return tuple((name, i.st_mode, i.st_size, i.st_mtime_ns, i.st_ino, i.st_ctime_ns) for name, _, i in _files(folder))


def _content(path: Path, size: int) -> bytes:
    # Not more than was counted: the file may grow while it is read.
    with path.open("rb") as file:
        return file.read(size)


def _files(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Files and links below a folder, sorted by name; folders are not followed through links."""
    found: list[tuple[str, Path, os.stat_result]] = []
    met, size, todo = 0, 0, [folder]
    try:
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    path, info = Path(entry.path), entry.stat(follow_symlinks=False)
                    met += 1
                    size += info.st_size if stat.S_ISREG(info.st_mode) else 0
                    if met > FILES_MAX or size > FOLDER_BYTES_MAX:
                        limit = f"{FILES_MAX:,} files and folders, {FOLDER_BYTES_MAX:,} bytes"
                        raise InvalidRequest("the folder holds too much", limit=limit, hint="keep data elsewhere")
                    if stat.S_ISDIR(info.st_mode):
                        todo.append(path)
                    else:
                        name = path.relative_to(folder).as_posix()
                        _check_kind(folder, path, name, info.st_mode)
                        found.append((name, path, info))
    except OSError as error:
        raise InvalidRequest(f"cannot be read: {error.strerror}: {error.filename}") from None
    return iter(sorted(found, key=lambda one: one[0]))


def _check_kind(folder: Path, path: Path, name: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        _check_link(folder, path, name)
    elif not stat.S_ISREG(mode):  # a pipe would keep its reader waiting for ever
        raise InvalidRequest(f"{name} is neither a file nor a folder", limit="plain files")


def _check_link(folder: Path, path: Path, name: str) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise InvalidRequest(f"{name} is a link that leads nowhere, or in a circle") from None
    if not target.is_relative_to(folder.resolve()):
        raise InvalidRequest(f"{name} is a link out of the skill's folder", hint="copy the file into the folder")
