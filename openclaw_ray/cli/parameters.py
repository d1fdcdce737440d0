"""Parameters as they are typed: ``path=a.txt dpi:=300 crop:='{"left": 1}'``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

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
        return _json(sys.stdin.read(), "--params -")
    if text.startswith("@"):
        try:
            return _json(Path(text[1:]).expanduser().read_text("utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{text[1:]!r} cannot be read: {error}.") from None
    return _json(text, "--params")


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{name}: {text[:60]!r} is not JSON: {error}.") from None
