"""JSON lines in one rotated file per component, whatever the host program does with its own logging.

Only loggers below `openclaw_ray` are touched, and only after `configure`; a driver that never calls it gets plain text
through its own handlers. Writing happens in the caller's thread: a line is one `write` into the page cache, and a queue
would lose the last lines of a process that ends itself, which are the ones that matter. Must not know what is logged.
"""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

__all__ = ["Logger", "configure", "get_logger", "log_path", "shutdown"]

ROOT = "openclaw_ray"
Logger = structlog.stdlib.BoundLogger

#: Longest text of one field, characters: a result or a traceback must not push everything else out of the file.
FIELD_CHARS_MAX = 16_384

#: Our words in code, and what they are called in the file: Ray's own logging overwrites `task_id`, `node_id` and more.
_RENAMED = {"task_id": "oc_task", "node_id": "oc_node", "attempt": "oc_attempt"}

#: What JSON leaves unescaped and readers take for the end of a line.
_LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

#: Attribute of a log record that carries the fields from structlog to the formatter.
_FIELDS = "openclaw_fields"


def get_logger(name: str) -> Logger:
    """A logger for a module: constant message first, then fields, as in ``log.info("node lost", node_id=node)``.

    Args:
        name: The module's `__name__`; names outside this package are put below it.
    """
    if name != ROOT and not name.startswith(ROOT + "."):
        name = f"{ROOT}.{name}"
    return cast(
        "Logger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.contextvars.merge_contextvars,
                structlog.processors.CallsiteParameterAdder(_CALLSITE),
                _hand_over,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        ),
    )


def configure(component: str, home: Path, level: str = "INFO", bytes_max: int = 10 << 20, files_max: int = 5) -> None:
    """Write this process's records to ``<home>/logs/<component>.jsonl``, and nowhere else.

    Calling it again changes the level; with another component or home it moves to that file, so that no record is
    written twice. Where the file cannot be made, records go to standard error: a full disk must not keep an actor from
    saying so.

    Args:
        component: Unique among the processes that share `home`, as two of them must not rotate one file.
        home: Folder of this installation; `logs` is made in it, for the owner only.
        level: Least severe level that is written.
        bytes_max: Size at which the file is rotated.
        files_max: Rotated files that are kept.
    """
    logger = logging.getLogger(ROOT)
    logger.setLevel(level)
    path = log_path(component, home)
    ours = [handler for handler in logger.handlers if isinstance(handler.formatter, JsonLines)]
    if any(getattr(handler, "baseFilename", None) == str(path) for handler in ours):
        return
    handler = _open_handler(path, bytes_max, files_max)
    handler.setFormatter(JsonLines(component))
    logger.addHandler(handler)
    logger.propagate = False  # Ray prints what reaches the root logger on the driver's terminal
    _close(logger, ours)


def shutdown() -> None:
    """Undo `configure`: close the file and let records flow to the host program's handlers again."""
    logger = logging.getLogger(ROOT)
    _close(logger, [handler for handler in logger.handlers if isinstance(handler.formatter, JsonLines)])
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def log_path(component: str, home: Path) -> Path:
    """Where `configure` lets a component write; odd characters of its name become `_`."""
    return Path(home).absolute() / "logs" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', component)}.jsonl"


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; records of plain `logging` calls below our root, too."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line: time (UTC), level, logger, place in the code, event, then the fields."""
        fields: dict[str, Any] = getattr(record, _FIELDS, {})
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
            "event": record.getMessage() if not fields else None,
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        line |= fields
        return _dumps({name: _short(value) for name, value in line.items()}).translate(_LINE_BREAKS)


_CALLSITE = (
    structlog.processors.CallsiteParameter.MODULE,
    structlog.processors.CallsiteParameter.FUNC_NAME,
    structlog.processors.CallsiteParameter.LINENO,
)


def _hand_over(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """The last processor: text for anybody's handler, the fields beside it for ours."""
    exc_info = event.pop("exc_info", None)
    fields = {
        "module": event.pop("module"),
        "function": event.pop("func_name"),
        "line": event.pop("lineno"),
        "event": event.pop("event", ""),
    }
    rest = {_RENAMED.get(name, name): value for name, value in event.items()}
    # A field of the same name as one of ours would falsify the record; it keeps its value under another name.
    fields |= {f"{name}_" if name in _RESERVED else name: value for name, value in rest.items()}
    text = " ".join([str(fields["event"]), *(f"{name}={value}" for name, value in rest.items())])
    return (text,), {"exc_info": exc_info, "extra": {_FIELDS: fields}}


_RESERVED = {"time", "level", "component", "logger", "module", "function", "line", "event", "exception"}


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > FIELD_CHARS_MAX:
        # Both ends: the message of a traceback is its last line.
        half = FIELD_CHARS_MAX // 2
        return f"{value[:half]} … {len(value) - 2 * half} characters left out … {value[-half:]}"
    return value


def _dumps(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, ensure_ascii=False, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # nan, odd keys, a cycle: still a record, and still JSON
        return json.dumps({name: _short(repr(value)) for name, value in line.items()}, ensure_ascii=False)


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotated file that only its owner reads: records may quote parameters."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # backslashreplace writes half a surrogate pair as \udc80, which is the right escape in JSON.
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - a descriptor


def _open_handler(path: Path, bytes_max: int, files_max: int) -> logging.Handler:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _PrivateFile(path, maxBytes=bytes_max, backupCount=files_max, encoding="utf-8")
    except OSError as error:
        print(f"openclaw-ray: cannot log to {path}: {error}; logging to standard error", file=sys.stderr)  # noqa: T201
        return logging.StreamHandler()


def _close(logger: logging.Logger, handlers: list[logging.Handler]) -> None:
    for handler in handlers:
        logger.removeHandler(handler)
        handler.close()
