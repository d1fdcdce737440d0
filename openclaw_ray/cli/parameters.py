"""Parameters as they are typed: ``path=a.txt dpi:=300 crop:='{"left": 1}'``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import click

from openclaw_ray.core.limits import NESTING_MAX, PARAMS_BYTES_MAX

FORM = "key=text, key:=JSON (dpi:=300, tags:='[\"a\"]')"


def parameters(words: Iterable[str]) -> dict[str, Any]:
    """A mapping of words such as ``key=text`` and ``key:=JSON``.

    Raises:
        click.UsageError: a word is neither, or names a key twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name:
            raise click.UsageError(f"{word!r} is no parameter; write {FORM}.")
        if name in found:
            raise click.UsageError(f"The parameter {name!r} is given twice.")
        found[name] = _json(text, name) if is_json else text
    return found


def whole(text: str) -> Any:
    """All parameters at once: JSON, ``@file``, or ``-`` for standard input."""
    if text == "-":
        return _json(_read(sys.stdin.buffer, "standard input"), "--params -")
    if text.startswith("@"):
        try:
            with Path(text[1:]).expanduser().open("rb") as file:
                return _json(_read(file, text[1:]), text)
        except (OSError, ValueError, RuntimeError) as error:  # a NUL in its name; a home of nobody
            raise click.UsageError(f"{text[1:]!r} cannot be read: {error}.") from None
    return _json(text, "--params")


def _read(file: BinaryIO, name: str) -> str:
    """Text of at most what the parameters of one task may be: a device would never end."""
    data = file.read(PARAMS_BYTES_MAX + 1)
    if len(data) > PARAMS_BYTES_MAX:
        raise click.UsageError(f"{name!r} holds more than {PARAMS_BYTES_MAX:,} bytes; pass its path to the skill.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{name!r} is not UTF-8 text.") from None


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise click.UsageError(f"{name}: nested too deeply (accepted: {NESTING_MAX} levels).") from None
    except ValueError as error:
        raise click.UsageError(f"{name}: {text[:60]!r} is not JSON: {error}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of names that are all different: of two values one would silently be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the name {twice[:60]!r} is given twice")
    return found
