"""Value generalization hierarchies.

Level 0 is the value itself, the last level is ``*`` for everything. Each level is a function
of the one below it, so a class of a finer level is never split on a coarser one. Null is a
leaf of its own and stays null below ``*``.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import ColumnType, GuaranteeNotMet, PlanError, PolicyError
from airflow_mlsec.hierarchies._quantiles import Quantiles
from airflow_mlsec.policy import (
    AutomaticHierarchy,
    DateHierarchy,
    FileHierarchy,
    IntervalHierarchy,
    PrefixHierarchy,
    SuppressHierarchy,
)
from airflow_mlsec.values import canonical_text

ANY = "*"


class Levels(Protocol):
    """A hierarchy fitted to one column."""

    @property
    def height(self) -> int:
        """The level at which everything is ``*``."""
        ...

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        """The values at ``1 <= level < height``, as text."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to do the same again."""
        ...


def label(levels: Levels, array: pa.Array, level: int, column: str) -> pa.Array:
    """The values at a level: their canonical text at 0, ``*`` at the top."""
    if level == 0:
        return canonical_text(array, column).cast(pa.string())
    if level >= levels.height:
        return pa.repeat(pa.scalar(ANY), len(array))
    if pa.types.is_null(array.type):  # a column without any value fits every hierarchy
        return array.cast(pa.string())
    return levels.label(array, level, column).cast(pa.string())


# The rounding error of a few floating-point operations, relative to their result.
_ROUNDED = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Suppress:
    """The value, or ``*``."""

    height: int = 1

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        raise PlanError(f"column '{column}': level {level} does not exist")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "suppress"}


@dataclass(frozen=True)
class Fixed:
    """A column that its policy transforms in a fixed way: there is no coarser level."""

    height: int = 0

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        raise PlanError(f"column '{column}': level {level} does not exist")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "fixed"}


@dataclass(frozen=True)
class Dates:
    """Dates and timestamps truncated to a unit. For a timestamp with a time zone, the local date in that zone
    is used: a person born at midnight in Berlin was not born on the day before."""

    units: tuple[str, ...]

    @property
    def height(self) -> int:
        return len(self.units) + 1

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        if not (pa.types.is_date(array.type) or pa.types.is_timestamp(array.type)):
            raise ColumnType.unusable(column, array.type, "a date or timestamp", "a date hierarchy")
        if pa.types.is_timestamp(array.type):
            array = pc.local_timestamp(array) if _zoned(array) else array
            array = pc.floor_temporal(array, unit="second")  # a cast would round towards 1970
        days = array.cast(pa.timestamp("s"), safe=False)
        unit = self.units[level - 1]
        if unit == "day":
            return days.cast(pa.date32(), safe=False).cast(pa.string())
        year = pc.year(days)
        if unit == "decade":
            return _join(_digits(pc.multiply(pc.floor(pc.divide(year, 10.0)), 10.0), 4), "s")
        if unit == "century":
            start = pc.multiply(pc.floor(pc.divide(year, 100.0)), 100.0)
            return _join(_digits(start, 4), "-", _digits(pc.add(start, 99.0), 4))
        if unit == "quarter":
            return _join(_digits(year, 4), "-Q", _digits(pc.quarter(days), 1))
        if unit == "month":
            return _join(_digits(year, 4), "-", _digits(pc.month(days), 2))
        return _digits(year, 4)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "date", "levels": list(self.units)}


@dataclass(frozen=True)
class Intervals:
    """Half-open intervals of numbers. What is not finite becomes null."""

    widths: tuple[float, ...]
    origin: float

    @property
    def height(self) -> int:
        return len(self.widths) + 1

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        kind = array.type
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ):
            raise ColumnType.unusable(column, kind, "a number", "an interval hierarchy")
        ratio = round(self.widths[level - 1] / self.widths[0])
        whole = self._whole_steps(array)
        if whole is not None:
            index, finite = whole // ratio, array.is_valid().to_numpy(zero_copy_only=False)
        else:
            index, finite = self._steps(array, ratio)
        distinct, inverse = np.unique(index, return_inverse=True)
        width, origin = Decimal(repr(self.widths[level - 1])), Decimal(repr(self.origin))
        labels = [
            f"[{_number(origin + int(i) * width)}, {_number(origin + (int(i) + 1) * width)})"
            for i in distinct.tolist()
        ]
        codes = pa.array(inverse.astype(np.int64), mask=~finite.astype(bool))
        return pa.array(labels, pa.string()).take(codes)

    def _steps(self, array: pa.Array, ratio: int) -> tuple[Any, Any]:
        """The interval of each number, and which numbers are finite."""
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = (numbers - self.origin) / self.widths[0]
            nearest = np.round(steps)
            # A value on an edge, up to the rounding error of two operations, belongs to the interval that begins there.
            on_edge = np.abs(steps - nearest) <= _ROUNDED * np.maximum(1.0, np.abs(steps))
            finite = np.isfinite(steps)
            finest = np.where(on_edge, nearest, np.floor(steps))
            # Coarser levels follow from the finest, so that they nest whatever the widths.
            return np.floor(np.where(finite, finest, 0.0) / ratio), finite

    def _whole_steps(self, array: pa.Array) -> Any:
        """The distance of whole numbers from the origin in finest widths, computed without floating-point numbers,
        which are not exact beyond 2^53; None for other numbers."""
        if not pa.types.is_integer(array.type):
            return None
        if not float(self.widths[0]).is_integer() or not float(self.origin).is_integer():
            return None
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        width, origin = int(self.widths[0]), int(self.origin)
        ends = (values.min(), values.max()) if len(values) else ()
        longest = max((abs(int(end)) for end in ends), default=0)
        if longest + abs(origin) + width >= 2**62:
            values = values.astype(object)  # Python's own numbers, which do not overflow
        else:
            values = values.astype(np.int64)
        return (values - origin) // width

    def to_json(self) -> dict[str, Any]:
        return {"kind": "interval", "widths": list(self.widths), "origin": self.origin}


@dataclass(frozen=True)
class Prefixes:
    """Text with fewer leading characters kept at each level."""

    keep: tuple[int, ...]

    @property
    def height(self) -> int:
        return len(self.keep) + 1

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        text = canonical_text(array, column).cast(pa.string())
        keep = self.keep[level - 1]
        rest = pc.max_element_wise(pc.subtract(pc.utf8_length(text), keep), 0, skip_nulls=False)
        kept = pc.utf8_slice_codeunits(text, 0, keep)
        return _join(kept, pc.binary_repeat(pa.scalar(ANY), rest))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "prefix", "keep": list(self.keep)}


@dataclass(frozen=True)
class Table:
    """A hierarchy given value by value: for each level, the label of every leaf."""

    leaves: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    source: str

    @property
    def height(self) -> int:
        return len(self.labels) + 1

    def places(self, array: pa.Array, column: str) -> pa.Array:
        """The position of each value among the leaves.

        :raises GuaranteeNotMet: if a value is not there.
        """
        text = canonical_text(array, column).cast(pa.string())
        codes = pc.index_in(text, pa.array(self.leaves, pa.string()))
        unknown = pc.and_(codes.is_null(), text.is_valid())
        if (count := pc.sum(unknown).as_py()) and count:
            row = unknown.index(True).as_py() + 1
            raise GuaranteeNotMet(
                f"column '{column}': {count} values are not among the {len(self.leaves)} leaves of "
                f"hierarchy {self.source} (the first is distinct value {row}); add them to the file"
            )
        return codes

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        return pa.array(self.labels[level - 1], pa.string()).take(self.places(array, column))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "table",
            "leaves": list(self.leaves),
            "labels": [list(level) for level in self.labels],
            "source": self.source,
        }


PolicyHierarchy = (
    DateHierarchy
    | IntervalHierarchy
    | PrefixHierarchy
    | FileHierarchy
    | AutomaticHierarchy
    | SuppressHierarchy
)


def fit_hierarchy(hierarchy: PolicyHierarchy, longest: int, source: str) -> Levels:
    """A policy's hierarchy, fitted to a column.

    ``longest`` is the length of the column's longest text (prefixes without ``keep`` count
    down from it); ``source`` is the policy file, whose folder contains the hierarchy files.
    """
    if isinstance(hierarchy, DateHierarchy):
        return Dates(tuple(hierarchy.levels))
    if isinstance(hierarchy, IntervalHierarchy):
        return Intervals(tuple(hierarchy.widths), hierarchy.origin)
    if isinstance(hierarchy, PrefixHierarchy):
        return Prefixes(tuple(hierarchy.keep or range(min(longest, 32) - 1, 0, -1)))
    if isinstance(hierarchy, AutomaticHierarchy):
        raise PolicyError(f"{source}: an automatic hierarchy cannot be used here; give intervals")
    if isinstance(hierarchy, FileHierarchy):
        return read_table(_confined(hierarchy.path, source))
    return Suppress()


def from_json(data: Mapping[str, Any]) -> Levels:
    """The hierarchy that `to_json` described.

    :raises PlanError: if it is of an unknown kind.
    """
    kind = data.get("kind")
    if kind == "date":
        return Dates(tuple(data["levels"]))
    if kind == "interval":
        return Intervals(tuple(data["widths"]), data["origin"])
    if kind == "prefix":
        return Prefixes(tuple(data["keep"]))
    if kind == "table":
        return Table(
            tuple(data["leaves"]),
            tuple(tuple(level) for level in data["labels"]),
            data["source"],
        )
    if kind == "suppress":
        return Suppress()
    if kind == "automatic":
        return Quantiles(tuple(data["edges"]))
    if kind == "fixed":
        return Fixed()
    raise PlanError(f"the plan has a hierarchy of unknown kind '{kind}'")


def read_table(path: Path) -> Table:
    """Read a hierarchy file: one row per leaf, from the value to its most general label.

    :raises PolicyError: if the file is missing, ragged, names a leaf twice, or is not a tree.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise PolicyError(f"hierarchy file {path} cannot be read as UTF-8 text") from None
    first_line = text.split("\n", 1)[0]
    delimiter = ";" if first_line.count(";") >= first_line.count(",") else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    if not rows or len(rows[0]) < 2:
        raise PolicyError(f"{path}:1: a hierarchy row is a value and its labels, up to *")
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise PolicyError(f"{path}:{number}: {len(row)} columns where row 1 has {len(rows[0])}")
        if row[0] in seen:
            raise PolicyError(f"{path}:{number}: this value is already in an earlier row")
        seen.add(row[0])
    levels: list[tuple[str, ...]] = list(zip(*rows, strict=True))
    for level, (fine, coarse) in enumerate(itertools.pairwise(levels), 1):
        _check_tree(path, fine, coarse, level)
    labels = levels[1:]
    if set(labels[-1]) == {ANY}:
        labels = labels[:-1]
    return Table(levels[0], tuple(labels), path.name)


def _check_tree(path: Path, fine: Sequence[str], coarse: Sequence[str], level: int) -> None:
    parents: dict[str, str] = {}
    for number, (child, parent) in enumerate(zip(fine, coarse, strict=True), 1):
        if parents.setdefault(child, parent) != parent:
            raise PolicyError(
                f"{path}:{number}: column {level}'s label has another parent in an earlier row; "
                "a hierarchy is a tree"
            )


def _confined(name: str, source: str) -> Path:
    base = Path(source).resolve().parent
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise PolicyError(
            f"{source}: hierarchy file '{name}' lies outside the policy's folder {base}"
        )
    return path


def _zoned(array: pa.Array) -> bool:
    return pa.types.is_timestamp(array.type) and array.type.tz is not None


def _digits(numbers: pa.Array, width: int) -> pa.Array:
    return pc.utf8_lpad(numbers.cast(pa.int64()).cast(pa.string()), width, "0")


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(
        *(pa.scalar(p) if isinstance(p, str) else p for p in parts), ""
    )


def _number(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if value == 0 else text
