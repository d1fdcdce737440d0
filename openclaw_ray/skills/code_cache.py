"""The functions that an executor process has loaded, and where the code of the others lies."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openclaw_ray.skills import packing

#: Functions kept loaded; the least recently used one goes first.
LOADED_MAX = 128


class CodeCache:
    """Functions by the SHA-256 of their code. `put` may be called from any thread, `get` only from the worker."""

    def __init__(self) -> None:
        #: Every digest ever named, to the file that holds the code.
        self._paths: dict[str, Path] = {}
        #: Loaded functions, least recently used first.
        self._loaded: OrderedDict[str, Callable[..., Any]] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._paths

    def put(self, digest: str, path: Path) -> None:
        """Say where code lies; it is read when it is first needed."""
        self._paths[digest] = path

    def get(self, digest: str) -> Callable[..., Any]:
        """The function, loaded now if need be. Loading runs the author's code, which may raise anything.

        Raises:
            OSError: The file cannot be read, or holds something else.
        """
        found = self._loaded.get(digest)
        if found is not None:
            self._loaded.move_to_end(digest)
            return found
        blob = self._paths[digest].read_bytes()
        if hashlib.sha256(blob).hexdigest() != digest:
            raise OSError(f"{self._paths[digest]} does not hold the code {digest[:12]}")
        found = self._loaded[digest] = packing.load(blob)
        if len(self._loaded) > LOADED_MAX:
            self._loaded.popitem(last=False)
        return found
