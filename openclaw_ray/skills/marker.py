"""Who is to blame when an executor process dies: the token that runs is written where it survives the process.

A mapped file: two machine words per attempt cost less than a microsecond, and the kernel keeps them when the process is
killed at any instruction. (They need not survive the machine: then no attempt is blamed.)
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

#: Name of the file in the executor's scratch folder.
FILE_NAME = "running"
#: Beside it: the Python stack that was current when a signal such as SIGSEGV ended the process; else empty.
CRASH_FILE_NAME = "crash"
_WORDS = struct.Struct("=QQ")


class Marker:
    """Writes the token that runs now, and the last one that finished; 0 stands for none."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(_WORDS.pack(0, 0))
        path.chmod(0o600)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _WORDS.size)
        self._finished = 0

    def begin(self, token: int) -> None:
        """Say that `token` runs from here on."""
        _WORDS.pack_into(self._map, 0, token, self._finished)

    def end(self, token: int) -> None:
        """Say that nothing runs, and that `token` came to its end."""
        self._finished = token
        _WORDS.pack_into(self._map, 0, 0, token)

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._map.close()


def read_marker(path: Path) -> tuple[int, int]:
    """The token that was running and the last that had finished, 0 for none, also where there is no marker."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0, 0
    if len(data) != _WORDS.size:
        return 0, 0
    running, finished = _WORDS.unpack(data)
    return running, finished
