"""The independent checker's part for hierarchies: the node of each level that a value belongs to.

The names of nodes do not matter, only which values share one. Written from the definitions of the
kinds of hierarchy (`docs/reference/policy.md`), value by value.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Hashable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import (
    DateHierarchy,
    FileHierarchy,
    Hierarchy,
    IntervalHierarchy,
    PrefixHierarchy,
)

_MOST_CHARACTERS = 32
_NOTHING = "nothing"


def nodes_of(hierarchy: Hierarchy, values: pa.Array, source: str) -> list[tuple[Hashable, ...]]:
    """The nodes of each value, from the value itself up to the level below the root.

    :raises GuaranteeNotMet: if a value is not in the hierarchy.
    """
    plain = _plain(values)
    if isinstance(hierarchy, DateHierarchy):
        return [(_key(v), *(_date(v, unit) for unit in hierarchy.levels)) for v in plain]
    if isinstance(hierarchy, IntervalHierarchy):
        origin = Decimal(repr(hierarchy.origin))
        widths = [Decimal(repr(width)) for width in hierarchy.widths]
        return [(_key(v), *(_interval(v, origin, width) for width in widths)) for v in plain]
    if isinstance(hierarchy, PrefixHierarchy):
        texts = [None if v is None else str(v) for v in plain]
        longest = max((len(text) for text in texts if text is not None), default=0)
        keep = hierarchy.keep or range(min(longest, _MOST_CHARACTERS) - 1, 0, -1)
        return [(_key(v), *((v[:n], max(len(v) - n, 0)) if v is not None else _NOTHING for n in keep)) for v in texts]  # fmt: skip
    if isinstance(hierarchy, FileHierarchy):
        return _of_file(Path(source).resolve().parent / hierarchy.path, plain)
    return [(_key(v),) for v in plain]


def _plain(values: pa.Array) -> list[Any]:
    kind = values.type
    if pa.types.is_timestamp(kind):
        # Local time in the column's own zone; above the value itself nothing finer than a day matters.
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    found: list[Any] = values.to_pylist()
    return found


def _key(value: Any) -> Hashable:
    if value is None:
        return _NOTHING
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    return value if isinstance(value, Hashable) else repr(value)


def _date(value: date | datetime | None, unit: str) -> Hashable:
    if value is None:
        return _NOTHING
    match unit:
        case "day":
            return value.year, value.month, value.day
        case "month":
            return value.year, value.month
        case "quarter":
            return value.year, (value.month - 1) // 3
        case "decade":
            return value.year // 10
        case "century":
            return value.year // 100
    return value.year


def _interval(value: Any, origin: Decimal, width: Decimal) -> Hashable:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _NOTHING
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    return math.floor((number - origin) / width)


def _of_file(path: Path, values: Sequence[Any]) -> list[tuple[Hashable, ...]]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    delimiter = ";" if lines and lines[0].count(";") >= lines[0].count(",") else ","
    rows = {row[0]: row for row in csv.reader(lines, delimiter=delimiter) if row}
    found: list[tuple[Hashable, ...]] = []
    # The root is the same for all values, and does not count as a level.
    rooted = bool(rows) and {row[-1] for row in rows.values()} == {"*"}
    height = (len(next(iter(rows.values()))) if rows else 1) - rooted
    for value in values:
        if value is None:
            found.append((_NOTHING,) * height)
            continue
        row = rows.get(_text(value))
        if row is None:
            raise GuaranteeNotMet(
                f"a value is not in hierarchy {path.name}, so the distance is unknown"
            )
        found.append(tuple(row[:height]))
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
