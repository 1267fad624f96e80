"""Entries of the audit log as they are stored, and what the log last says about each row."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from airflow_mlsec.register._row_text import canonical, scalar

# A table and a row's key, as in findings: `mlsec_request ["dsr-1"]`.
Row = str

# Almost every entry's first line, in the form in which `register._journal` writes it. Any other is read as JSON:
# this is only faster (by 3 seconds a million).
_FIRST_LINE = re.compile(
    r'\{"at":"[^"\\]*",(?:"imported":true,)?"key":(\[[^\]\\]*\]),"table":"(\w+)",(?:"upgraded":"\w+",)?"v":1\}\n'
)


class LogEntry(NamedTuple):
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
        return (
            hashlib.sha256(self.salt + self.text.encode(errors="surrogatepass")).digest()
            == self.commitment
        )

    @property
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
        # The digest of each row's text.
        self.rows: dict[Row, bytes] = {}
        self.tables: set[str] = set()
        # Findings: rows that something else changed.
        self.strangers: list[str] = []
        # Numbers of entries whose text was erased, according to another entry.
        self.erased: set[int] = set()

    @classmethod
    def of(cls, entries: Iterable[LogEntry]) -> LastRows:
        last = cls()
        for entry in entries:
            last.read(entry)
        return last

    def read(self, entry: LogEntry) -> None:
        """Take an entry into account; all are read in order."""
        if entry.text is None:
            return
        usual = _FIRST_LINE.match(entry.text)
        if usual is not None:
            key, table = usual.groups()
            row = entry.text[usual.end() :]
        else:
            about = entry.about
            if "table" not in about:
                self.erased.add(int(about["erased"]))
                return
            table, key, row = str(about["table"]), canonical(about.get("key", ())), entry.row
            if about.get("stranger"):
                self.tables.add(table)
                self.strangers.append(
                    f"{table} {key}: changed by something else than this package before {about['at']}"
                )
                return
        self.tables.add(table)
        if row:
            self.rows[f"{table} {key}"] = text_digest(row)
        else:
            self.rows.pop(f"{table} {key}", None)


def row_name(table: str, key: Sequence[Any]) -> Row:
    """A row's name in findings."""
    return f"{table} [{','.join([scalar(value) for value in key])}]"


def text_digest(row: str) -> bytes:
    """The digest of a row's text, whatever somebody has put into the row."""
    return hashlib.sha256(row.encode(errors="surrogatepass")).digest()


def read_entries(connection: sa.Connection) -> Iterator[LogEntry]:
    """All entries of the log, in order."""
    # Uses the driver's own rows, since there are millions.
    query = "SELECT number, commitment, salt, text FROM mlsec_log_entry ORDER BY number"
    for part in connection.exec_driver_sql(query).partitions(10_000):
        for number, commitment, salt, text in part:
            yield LogEntry(number, bytes(commitment), None if salt is None else bytes(salt), text)
