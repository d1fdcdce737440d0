"""SQLite's errors as ours, in one function: no sqlite3 exception leaves this folder."""

from __future__ import annotations

import sqlite3

from openclaw_ray.errors import (
    Conflict,
    Corrupt,
    InvalidRequest,
    OpenClawError,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageFull,
    Unavailable,
)

#: What `mapped` understands: SQLite's own, and what binding a value can raise.
RAW_ERRORS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError)

#: Seconds until another try makes sense: a disk is emptied by people, a lock is held by a program.
FULL_RETRY_S, BUSY_RETRY_S, IO_RETRY_S = 5.0, 1.0, 2.0

# Primary result codes, https://www.sqlite.org/rescode.html; the low byte of an extended code.
_BUSY, _LOCKED, _PROTOCOL = 5, 6, 15
_NOMEM, _READONLY, _INTERRUPT, _IOERR, _CORRUPT, _FULL, _CANTOPEN = 7, 8, 9, 10, 11, 13, 14
_TOOBIG, _CONSTRAINT, _MISMATCH, _NOTADB = 18, 19, 20, 26
# Extended codes that say more than their primary one.
_IOERR_SHORT_READ = _IOERR | 2 << 8
_IOERR_WRITE = _IOERR | 3 << 8
_IOERR_SHMSIZE = _IOERR | 19 << 8
_IOERR_CORRUPTFS = _IOERR | 33 << 8


def mapped(error: Exception, *, committing: bool = False) -> OpenClawError:
    """Our error for one of `RAW_ERRORS`; one of ours is returned as it is.

    Args:
        error: What SQLite, or binding a value, raised.
        committing: It came out of COMMIT. Then a failed sync leaves open whether the rows come back at the next open,
            so everything but a refused write is `OutcomeUnknown`: the caller must exit and start from disk.
    """
    if isinstance(error, OpenClawError):
        return error
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return InvalidRequest(f"the database cannot hold a value: {error}", limit="64-bit integers and Unicode text")
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    facts = {"sqlite": getattr(error, "sqlite_errorname", type(error).__name__)}
    if committing and code & 0xFF == _IOERR and code != _IOERR_WRITE:
        return OutcomeUnknown(
            f"the disk failed in the middle of a commit ({error})",
            hint="the process must end and read the database again",
            facts=facts,
        )
    return _by_code(code, str(error), facts)


def _by_code(code: int, text: str, facts: dict[str, str]) -> OpenClawError:
    primary = code & 0xFF
    if primary == _FULL or code == _IOERR_SHMSIZE:
        return StorageFull(f"no room for the write ({text})", retry_after=FULL_RETRY_S, facts=facts)
    if primary in {_BUSY, _LOCKED, _PROTOCOL}:
        return StorageBusy(f"another program holds the database ({text})", retry_after=BUSY_RETRY_S, facts=facts)
    if primary in {_CORRUPT, _NOTADB} or code in {_IOERR_SHORT_READ, _IOERR_CORRUPTFS}:
        return Corrupt(f"the database is damaged ({text})", hint="restore a backup", facts=facts)
    if primary == _CONSTRAINT:
        return Conflict(f"the row does not fit what is stored ({text})", facts=facts)
    if primary == _INTERRUPT:
        return Unavailable("the read took longer than its bound", retry_after=IO_RETRY_S, facts=facts)
    if primary in {_IOERR, _NOMEM}:
        return Unavailable(
            f"the write or read was refused by the machine ({text})", retry_after=IO_RETRY_S, facts=facts
        )
    if primary in {_TOOBIG, _MISMATCH}:
        return InvalidRequest(f"the database cannot hold a value ({text})", facts=facts)
    if primary == _READONLY:
        return StorageError(f"the database cannot be written ({text})", hint="check owner and mode", facts=facts)
    if primary == _CANTOPEN:
        return StorageError(f"the database cannot be opened ({text})", hint="check path, owner and mode", facts=facts)
    return StorageError(f"the database refused a statement ({text})", facts=facts)
