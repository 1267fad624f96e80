"""A partition as the regions of a plan: columns in their order, cuts, and what each class shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize._coding import Codes, encoded, first_places, renumbered
from airflow_mlsec.anonymize.recoding._mondrian import OrderedColumn, Partition
from airflow_mlsec.anonymize.recoding._mondrian_plan import (
    Cell,
    RegionColumn,
    Regions,
    numbers,
    quoted,
)
from airflow_mlsec.policy import (
    AutomaticHierarchy,
    DateHierarchy,
    IntervalHierarchy,
    Policy,
)
from airflow_mlsec.values import canonical_text

_WORD = 62


@dataclass(frozen=True)
class RankedColumn:
    """A quasi-identifier for cutting, and what its codes stand for: the text, and the number where
    it has one (None where the value is missing)."""

    coded: OrderedColumn
    texts: tuple[str | None, ...]
    values: tuple[Any, ...]


def ordered_column(name: str, values: pa.ChunkedArray, policy: Policy) -> RankedColumn:
    """A column with its values in their order.

    Numbers and dates whose hierarchy says so become intervals. Other values become sets; they have
    the order of the hierarchy's file, in which neighbours belong together, or else of the text.

    :raises ColumnType: if values have no order that an interval needs.
    :raises GuaranteeNotMet: if a value is not in its hierarchy's file.
    """
    hierarchy = policy.columns[name].hierarchy
    codes, distinct = encoded(values)
    if isinstance(hierarchy, DateHierarchy | IntervalHierarchy | AutomaticHierarchy):
        return _interval(name, codes, distinct)
    text = canonical_text(distinct, name).cast(pa.string())
    leaves = len(distinct)
    if hierarchy is not None and hierarchy.kind == "file":
        levels = hierarchies.fit_hierarchy(hierarchy, 0, policy.source)
        assert isinstance(levels, hierarchies.Table)
        order = pc.array_sort_indices(levels.places(distinct, name))
        leaves = max(leaves, len(levels.leaves))
    else:
        order = pc.array_sort_indices(text)
    places = order.to_numpy(zero_copy_only=False)
    rank = np.empty(len(places), np.int64)
    rank[places] = np.arange(len(places))
    coded = OrderedColumn(name, rank[codes], max(1, len(places)), leaves, fixed=hierarchy is None)
    texts = tuple(text.take(order).to_pylist())
    return RankedColumn(coded, texts, texts)


def _interval(name: str, codes: Codes, distinct: pa.Array) -> RankedColumn:
    number, missing = numbers(distinct, name)
    known = np.unique(number[~missing])
    gaps = int(missing.any())
    # Missing values are below all others.
    rank = np.where(missing, 0, np.searchsorted(known, number) + gaps)
    first = first_places(rank, len(known) + gaps)
    text = canonical_text(distinct, name).cast(pa.string()).take(pa.array(first)).to_pylist()
    values: list[Any] = [*([None] * gaps), *known.tolist()]
    texts = [None if value is None else shown for value, shown in zip(values, text, strict=True)]
    width = max(1, len(values))
    coded = OrderedColumn(name, rank[codes], width, width, interval=True)
    return RankedColumn(coded, tuple(texts), tuple(values))


def regions_of(columns: list[RankedColumn], found: Partition) -> Regions:
    """What a plan needs to lead rows to the classes of a partition. It does not contain values that no
    released row has."""
    kept = np.flatnonzero(found.released)
    known = [np.unique(column.coded.codes[kept]) for column in columns]
    classes = found.classes[kept]
    number = int(classes.max(initial=-1)) + 1
    made: list[RegionColumn] = []
    cells = []
    for column in columns:
        region, cell_of_class = _region(column, classes, column.coded.codes[kept], number)
        region = _without_unknown(region, known[len(made)])
        made.append(region)
        cells.append(cell_of_class.tolist())
    cuts = found.cuts
    at = [
        _cut(columns[place], known[place], code)
        for place, code in zip(cuts.column.tolist(), cuts.at.tolist(), strict=True)
    ]
    return Regions(
        tuple(made),
        _roots(columns, found, known),
        tuple(zip(cuts.column.tolist(), at, cuts.below.tolist(), cuts.above.tolist(), strict=True)),
        tuple(zip(*cells, strict=True)),
    )


def _without_unknown(region: RegionColumn, known: Codes) -> RegionColumn:
    """A column with the values of released rows only."""
    if region.kind == "interval":
        return region
    place = {code: at for at, code in enumerate(known.tolist())}
    return replace(
        region,
        values=tuple(region.values[code] for code in place),
        cells=tuple(tuple(place[code] for code in cell) for cell in region.cells),
    )


def _cut(column: RankedColumn, known: Codes, code: int) -> Any:
    """The position of a cut among the values of released rows: the place of the last value below
    it; for an interval column, a number above that value and at most the next one."""
    place = int(np.searchsorted(known, code, side="right"))
    if not column.coded.interval:
        return place - 1
    if place < len(known):
        return column.values[int(known[place])]
    highest = column.values[int(known[-1])] if len(known) else None
    if highest is None:
        return 0
    return highest + 1 if isinstance(highest, int) else float(np.nextafter(highest, np.inf))


def _roots(
    columns: list[RankedColumn], found: Partition, known: list[Codes]
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The first node of each combination of fixed values."""
    number = len(found.cuts.roots)
    first = first_places(found.root_of_tuple, number)
    fixed = []
    inside = np.ones(number, bool)
    for column, released in zip(columns, known, strict=True):
        if column.coded.fixed:
            codes = column.coded.codes[first]
            fixed.append(np.searchsorted(released, codes).tolist())
            inside &= np.isin(codes, released)
    values = list(zip(*fixed, strict=True)) if fixed else [()] * number
    targets = np.where(inside, found.cuts.roots, -1).tolist()
    return tuple((v, t) for v, t in zip(values, targets, strict=True) if t != -1)


def _region(
    column: RankedColumn, classes: Codes, codes: Codes, number: int
) -> tuple[RegionColumn, Codes]:
    """The distinct cells of a column, and the one that each class has."""
    coded = column.coded
    if not number:
        kind = "interval" if coded.interval else "fixed" if coded.fixed else "set"
        values = () if coded.interval else column.texts
        return RegionColumn(coded.name, kind, values, (), ()), np.zeros(0, np.int64)  # type: ignore[arg-type]
    pairs = np.unique(classes * coded.width + codes)
    of_class, code = np.divmod(pairs, coded.width)
    start = np.flatnonzero(np.diff(of_class, prepend=-1))
    end = np.append(start[1:], len(pairs))
    if coded.interval:
        # The lowest value may be a missing one; then the next one is needed too.
        above = np.minimum(start + 1, end - 1)
        key, count = renumbered(code[start] * coded.width + code[above])
        cell_of_class, count = renumbered(key * coded.width + code[end - 1])
        cells = [
            _interval_cell(column, int(code[start[c]]), int(code[above[c]]), int(code[end[c] - 1]))
            for c in first_places(cell_of_class, count).tolist()
        ]
        kind = "interval"
        labels = [label for _, label in cells]
        shown: list[Cell] = [cell for cell, _ in cells]
    else:
        cell_of_class, count = _same_sets(of_class, code, coded.width, number)
        shown = [
            tuple(code[start[c] : end[c]].tolist())
            for c in first_places(cell_of_class, count).tolist()
        ]
        spelled = [quoted(text) for text in column.texts]
        labels = [_set_label(column, cell, spelled) for cell in shown]
        kind = "fixed" if coded.fixed else "set"
    values = () if coded.interval else column.texts
    return RegionColumn(coded.name, kind, values, tuple(shown), tuple(labels)), cell_of_class  # type: ignore[arg-type]


def _same_sets(of_class: Codes, code: Codes, width: int, number: int) -> tuple[Codes, int]:
    """Number the sets of codes that classes have: the same set, the same number."""
    key, count = np.zeros(number, np.int64), 1
    word = code // _WORD
    for at in range(-(-width // _WORD)):
        here = np.flatnonzero(word == at)
        bits = np.zeros(number, np.int64)
        if len(here):
            first = np.flatnonzero(np.diff(of_class[here], prepend=-1))
            joined = np.bitwise_or.reduceat(np.int64(1) << (code[here] % _WORD), first)
            bits[of_class[here][first]] = joined
        renamed, distinct = renumbered(bits)
        key, count = renumbered(key * distinct + renamed)
    return key, count


def _interval_cell(
    column: RankedColumn, lowest: int, above: int, highest: int
) -> tuple[Cell, str | None]:
    gaps = column.values[lowest] is None
    low = above if gaps else lowest
    if column.values[highest] is None:
        return (None, None, True), None
    label = _interval_label(column.texts[low], column.texts[highest])
    if len(column.values) > 1 and lowest == 0 and highest == len(column.values) - 1:
        label = hierarchies.ANY
    elif gaps:
        label = f"{{null, {label}}}"
    return (column.values[low], column.values[highest], gaps), label


def _interval_label(low: str | None, high: str | None) -> str:
    return f"{low}" if low == high else f"[{low}, {high}]"


def _set_label(column: RankedColumn, cell: Cell, spelled: list[str]) -> str | None:
    """``{a, b}``; a single value as itself, unless it looks like a set or interval."""
    if len(cell) == 1:
        only = column.texts[cell[0]]
        return f"{{{spelled[cell[0]]}}}" if only is not None and only[:1] in ("{", "[") else only
    if len(cell) == column.coded.leaves:
        return hierarchies.ANY
    return "{" + ", ".join([spelled[place] for place in cell]) + "}"
