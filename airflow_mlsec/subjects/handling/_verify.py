"""The second look after an erasure, with independent code, in *every* column.

Shares nothing with the erasing code: each connector reads again with other code (Parquet with DuckDB, text
files line by line, databases through their own drivers). A text counts as found in any letter case and Unicode form,
with no letter or digit directly before or after it. A short text, such as a number, counts only as the whole
value, and is also compared as a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_mlsec.datasets import Connections, EnvironmentConnections, connector_of

# Shorter texts, such as "7", occur in many values by chance: they must be the whole value.
_SHORTEST_PART = 6
_SHORTEST_NUMBER = 9


@dataclass(frozen=True)
class Rescan:
    """What the second look found in one place: rows, and how it looked."""

    rows: int
    how: str


class _Needles:
    """Texts that must not be there: anywhere, or in one column only."""

    def __init__(
        self,
        anywhere: Iterable[str],
        in_column: Mapping[str, Iterable[str]],
        only: Mapping[str, str],
        exact: bool,
    ) -> None:
        self._only = {column: _Matcher([text], True, exact) for column, text in only.items()}
        self._anywhere = _Matcher(anywhere, False, exact)
        self._in_column = {c: _Matcher(texts, False, exact) for c, texts in in_column.items()}

    def in_row(self, row: Mapping[str, Any]) -> bool:
        """Whether any value of a row, including nested values, contains one."""
        for column, mine in self._only.items():
            texts = list(_texts(row.get(column)))
            if texts and not any(mine.holds(text) for text in texts):
                return False
        return any(
            self._anywhere.holds(text)
            or (column in self._in_column and self._in_column[column].holds(text))
            for column, value in row.items()
            for text in _texts(value)
        )


class _Matcher:
    def __init__(self, needles: Iterable[str], whole: bool, exact: bool) -> None:
        self._exact = exact
        folded = {self._as_compared(needle) for needle in needles if needle}
        self._whole = {
            n
            for n in folded
            if whole or len(n) < (_SHORTEST_PART if _number(n) is None else _SHORTEST_NUMBER)
        }
        self._numbers = {x for n in folded if (x := _number(n)) is not None}
        parts = "|".join(re.escape(n) for n in sorted(folded - self._whole))
        self._parts = re.compile(rf"(?<![^\W_])(?:{parts})(?![^\W_])") if parts else None

    def holds(self, text: str) -> bool:
        folded = self._as_compared(text)
        if folded in self._whole or (self._parts is not None and self._parts.search(folded)):
            return True
        return bool(self._numbers) and _number(folded) in self._numbers

    def _as_compared(self, text: str) -> str:
        return text if self._exact else _folded(text)


def rescan(
    uri: str,
    anywhere: Iterable[str],
    in_column: Mapping[str, Iterable[str]] | None = None,
    connections: Connections | None = None,
    only: Mapping[str, str] | None = None,
    left_out: Iterable[str] = (),
    exact: bool = False,
) -> Rescan:
    """How many rows of a dataset still contain one of the texts: those of ``anywhere`` in any column,
    those of ``in_column`` only in that column. Rows with another value than ``only`` in one of its
    columns are another person's. ``left_out`` are paths below a folder that are checked separately.
    All spellings of a text count, unless ``exact`` is set.

    :raises DatasetError: if it cannot be read. What was not read is not clean.
    """
    needles = _Needles(anywhere, in_column or {}, only or {}, exact)
    found = connector_of(uri).read_again(
        uri, connections or EnvironmentConnections(), tuple(left_out)
    )
    rows = sum(
        needles.in_row(row) or (bool(said) and needles.in_row(said)) for row, said in found.rows
    )
    return Rescan(rows, found.how)


def _texts(value: Any) -> Iterator[str]:
    """Every text that a value is printed as; for nested values, every leaf."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value).decode("utf-8", "replace")
    else:
        yield str(value)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def _number(text: str) -> Decimal | None:
    if not re.fullmatch(r"[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
