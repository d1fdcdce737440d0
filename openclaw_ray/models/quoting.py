"""Values of strangers in our messages: short, on one line, printable, whatever they are. Runs none of their methods."""

from __future__ import annotations

from typing import cast

#: A whole number of more bits is no quantity of anything, and Python refuses to print one of 4,300 digits.
INT_BITS_MAX = 1_024
#: Of a value that a message quotes; of a whole field path.
QUOTE_CHARS, PATH_CHARS = 60, 200


def quoted(value: object, limit: int = QUOTE_CHARS) -> str:
    """A value as it is quoted in a message: short, on one line, whatever it is."""
    return repr(shorten(value, limit))


def shorten(value: object, limit: int = QUOTE_CHARS) -> object:
    """A value fit to be quoted in a message with ``!r``."""
    kind = type(value)
    if issubclass(kind, str):
        text = str.__str__(value)
        return text if len(text) <= limit else text[: limit - 1] + "…"
    if issubclass(kind, int) and int.bit_length(cast("int", value)) > INT_BITS_MAX:
        return _Bare("a huge number")
    text = repr(value) if kind in (int, float, bool, type(None)) else kind.__name__
    return _Bare(text if len(text) <= limit else text[: limit - 1] + "…")


def field_name(name: object) -> str:
    """A name from outside as part of a field path: letters that could be taken for something else are escaped."""
    text = str(shorten(name))
    return text if text.isprintable() else repr(text)[1:-1]


def joined(path: str, part: str) -> str:
    """A field path and what follows: a field's name, or ``[3].name``; long ones lose their middle."""
    whole = path + part if not path or not part or part[0] in ".[" else f"{path}.{part}"
    return whole if len(whole) <= PATH_CHARS else f"{whole[: PATH_CHARS // 2]}…{whole[-PATH_CHARS // 2 :]}"


class _Bare(str):
    """Text that quotes as itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
