"""Entries of the audit log as they are stored, and what the log last says about each row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

# A table and a row's key.
Row = tuple[str, str]


@dataclass(frozen=True)
class LogEntry:
    """An entry of the log; an entry without ``salt`` and ``text`` is erased."""

    number: int
    commitment: bytes
    salt: bytes | None
    text: str | None

    @property
    def is_whole(self) -> bool:
        """Whether its text is the one the log commits to."""
        if self.salt is None or self.text is None:
            return False
        return hashlib.sha256(self.salt + self.text.encode()).digest() == self.commitment

    @cached_property
    def about(self) -> dict[str, Any]:
        """What it is about: when, which table, and the row's key."""
        found: dict[str, Any] = json.loads((self.text or "{}").partition("\n")[0])
        return found

    @property
    def row(self) -> str:
        """The row as it was from then on; empty if it was deleted."""
        return (self.text or "").partition("\n")[2]


class LastRows:
    """What a log last says about each row."""

    def __init__(self) -> None:
        self.rows: dict[Row, bytes] = {}
        self.tables: set[str] = set()
        self.strangers: list[str] = []

    def told_of(self, entries: Iterable[LogEntry]) -> Iterator[LogEntry]:
        for entry in entries:
            if entry.text is not None:
                about = entry.about
                if "table" not in about:
                    yield entry  # it records that another entry was erased
                    continue
                where = str(about.get("table")), key_text(about.get("key", ()))
                self.tables.add(where[0])
                if about.get("stranger"):
                    self.strangers.append(
                        f"{where[0]} {where[1]}: changed by something else than this package before {about['at']}"
                    )
                elif entry.row:
                    self.rows[where] = hashlib.sha256(entry.row.encode()).digest()
                else:
                    self.rows.pop(where, None)
            yield entry


def key_text(key: Sequence[Any]) -> str:
    """A row's key in the form used in findings."""
    return json.dumps(list(key), ensure_ascii=False)


def read_entries(connection: sa.Connection) -> Iterator[LogEntry]:
    """All entries of the log, in order."""
    # Uses the driver's own rows, since there are millions.
    query = "SELECT number, commitment, salt, text FROM mlsec_log_entry ORDER BY number"
    for part in connection.exec_driver_sql(query).partitions(10_000):
        for number, commitment, salt, text in part:
            yield LogEntry(number, bytes(commitment), None if salt is None else bytes(salt), text)
