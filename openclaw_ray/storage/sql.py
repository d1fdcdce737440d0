"""Pieces of SQL that are made from column names."""

from __future__ import annotations

from collections.abc import Sequence


def quoted(columns: Sequence[str]) -> str:
    """Column names as they stand in SQL; ``key``, ``by`` and ``after`` are words of SQL too."""
    return ", ".join(f'"{column}"' for column in columns)


def sets(columns: Sequence[str]) -> str:
    """The SET list of an update, one bound value per column."""
    return ", ".join(f'"{column}" = ?' for column in columns)


def insert(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts one row."""
    return f"INSERT INTO {table} ({quoted(columns)}) VALUES ({', '.join('?' * len(columns))})"
