"""Multidimensional recoding: the table is repeatedly cut in two while both sides hold the models.

Source: LeFevre, DeWitt, Ramakrishnan, "Mondrian Multidimensional k-Anonymity" (ICDE 2006), strict
partitioning. A cut separates the lower values of one column from the higher ones. Of all cuts whose
sides satisfy the privacy models, the one is made that reduces the loss of its own column (the
Normalized Certainty Penalty) the most; no cut ever increases it. All parts of one depth are cut at
once, so that no Python code runs per part. The cuts are a tree: the class of a row follows from the
row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from airflow_mlsec.anonymize._coding import Codes, combined, first_places, renumbered
from airflow_mlsec.anonymize.recoding._classes import (
    Classes,
    Mask,
    Numbers,
    SensitiveColumn,
    Tuples,
    added_up,
    whole_persons,
)
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.errors import GuaranteeNotMet

_DENSE = 1 << 22
# Cells of the histograms (cuts times sensitive values) that are examined together.
_MOST_CELLS = 1 << 25
_NOBODY = -1
# Class 0, where the number of a cut is also possible; class c is this minus c.
FIRST_CLASS = -2


@dataclass(frozen=True)
class OrderedColumn:
    """A quasi-identifier of the weighted tuples, its values numbered in their order.

    A class shows the ``interval`` that its values span, or their set. A ``fixed`` column has one
    value in each class. ``leaves`` is how many values there could be.
    """

    name: str
    codes: Codes
    width: int
    leaves: int
    interval: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class Cuts:
    """A tree. Cut ``i`` sends values up to ``at[i]`` of column ``column[i]`` to ``below[i]``, others
    to ``above[i]``: the number of a cut, or ``-2 - c`` for class ``c``. ``roots`` are the first
    nodes of each combination of fixed columns (-1: its rows are suppressed)."""

    roots: Codes
    column: Codes
    at: Codes
    below: Codes
    above: Codes


@dataclass(frozen=True)
class Partition:
    """The class of each tuple (-1: suppressed), the root of each, the cuts, and the cost."""

    classes: Codes
    root_of_tuple: Codes
    cuts: Cuts
    suppressed_rows: int
    loss: float
    # Column by column the loss of the cells of each class.
    cells: tuple[Numbers, ...]

    @property
    def released(self) -> Mask:
        """Which tuples are released."""
        found: Mask = self.classes >= 0
        return found


def partition(
    columns: Sequence[OrderedColumn],
    tuples: Tuples,
    criteria: Criteria,
    suppression_limit: float,
    progress: Callable[[int], None] = lambda classes: None,
) -> Partition:
    """Cut the tuples into classes as small as the privacy models allow.

    :raises GuaranteeNotMet: if the whole, or the rows that share the values of fixed columns, do
        not satisfy the models, and are more than may be suppressed.
    """
    fixed = [(column.codes, column.width) for column in columns if column.fixed]
    roots, number = renumbered(combined(fixed, len(tuples.weights))[0])
    whole = Classes(roots, added_up(roots, tuples.weights, number))
    lost = criteria.lost(whole, tuples.sensitive) > 0
    suppressed = whole_persons(float(whole.sizes[lost].sum()))
    total = round(float(tuples.weights.sum()))
    if suppressed > int(suppression_limit * total + 1e-9):
        raise GuaranteeNotMet(
            f"{criteria} cannot be reached: {suppressed} of {total} rows would have to be suppressed, and "
            f"suppression_limit allows {int(suppression_limit * total + 1e-9)}. Raise `suppression_limit` to "
            f"{suppressed / total:.4f}, ask for less"
            + (", or give the columns with a fixed `transform` a `hierarchy`" if fixed else "")
        )
    work = _Cutting(columns, tuples, criteria)
    classes, cuts = work.run(roots, lost, progress)
    cells = tuple(_cell_loss(column, classes) for column in columns)
    rows = added_up(classes[classes >= 0], tuples.weights[classes >= 0], 0)
    lost_cells = sum(float((rows * cell).sum()) for cell in cells) + suppressed * len(columns)
    loss = lost_cells / max(1.0, float(tuples.weights.sum()) * len(columns))
    return Partition(classes, roots, cuts, suppressed, loss, cells)


@dataclass(frozen=True)
class _Part:
    """The tuples that are still to be cut: their places, and the node of each."""

    places: Codes
    node: Codes
    nodes: int


@dataclass(frozen=True)
class _Cells:
    """The values of one column in each node, in order: node, code, rows, and the cell of each tuple."""

    node: Codes
    code: Codes
    rows: Numbers
    of_tuple: Codes
    # Where each node's cells begin and end.
    start: Codes
    end: Codes


class _Cutting:
    def __init__(
        self, columns: Sequence[OrderedColumn], tuples: Tuples, criteria: Criteria
    ) -> None:
        self._columns, self._tuples, self._criteria = columns, tuples, criteria

    def run(self, roots: Codes, lost: Mask, progress: Callable[[int], None]) -> tuple[Codes, Cuts]:
        """The class of each tuple, and the tree."""
        classes = np.full(len(roots), _NOBODY, np.int64)
        # A node's number, or its class, is written to a slot: the roots first, then both sides of
        # each cut.
        slots = [np.full(len(lost), _NOBODY, np.int64)]
        made: list[tuple[Codes, Codes]] = []
        kept = np.flatnonzero(~lost[roots])
        slot = np.flatnonzero(~lost)
        part = _Part(kept, (np.cumsum(~lost) - 1)[roots[kept]], len(slot))
        number_of_classes = number_of_cuts = 0
        target = slots[0]
        while part.nodes:
            column, at = self._best(part)
            leaf = column < 0
            cut = np.flatnonzero(~leaf)
            target[slot[leaf]] = FIRST_CLASS - (number_of_classes + np.arange(int(leaf.sum())))
            target[slot[cut]] = number_of_cuts + np.arange(len(cut))
            class_of_node = np.where(leaf, number_of_classes + np.cumsum(leaf) - 1, _NOBODY)
            done = leaf[part.node]
            classes[part.places[done]] = class_of_node[part.node[done]]
            made.append((column[cut], at[cut]))
            number_of_classes += int(leaf.sum())
            number_of_cuts += len(cut)
            part = self._split(part, column, at, ~done)
            target = np.full(2 * len(cut), _NOBODY, np.int64)
            slots.append(target)
            slot = np.arange(len(target))
            progress(number_of_classes)
        sides = np.concatenate(slots[1:]) if len(slots) > 1 else np.zeros(0, np.int64)
        cut_columns, cut_at = (
            np.concatenate([each[i] for each in made]) if made else np.zeros(0, np.int64)
            for i in (0, 1)
        )
        return classes, Cuts(slots[0], cut_columns, cut_at, sides[0::2], sides[1::2])

    def _split(self, part: _Part, column: Codes, at: Codes, going: Mask) -> _Part:
        """Both sides of every cut as nodes."""
        places, node = part.places[going], part.node[going]
        above = np.zeros(len(places), np.int64)
        cut_column, cut_at = column[node], at[node]
        for number, ordered in enumerate(self._columns):
            here = np.flatnonzero(cut_column == number)
            above[here] = ordered.codes[places[here]] > cut_at[here]
        new = np.cumsum(column >= 0) - 1
        return _Part(places, new[node] * 2 + above, 2 * int((column >= 0).sum()))

    def _best(self, part: _Part) -> tuple[Codes, Codes]:
        """For each node the column to cut (-1: none can be), and the last code below the cut."""
        weights = self._tuples.weights[part.places]
        rows = added_up(part.node, weights, part.nodes)
        sensitive = self._sensitive(part)
        most = np.zeros(part.nodes)
        column = np.full(part.nodes, _NOBODY, np.int64)
        at = np.zeros(part.nodes, np.int64)
        for number, ordered in enumerate(self._columns):
            if ordered.fixed or ordered.width < 2:
                continue
            cells = _cells(part, ordered, weights)
            below = np.cumsum(cells.rows)
            before = np.concatenate([[0.0], below])[cells.start]
            below -= before[cells.node]
            above = rows[cells.node] - below
            holds = (below >= self._criteria.k) & (above >= self._criteria.k)
            holds[cells.end - 1] = False
            if self._criteria.models and holds.any():
                holds = self._holding(cells, holds, sensitive)
            gain = np.where(holds, _gain(ordered, cells, below, above), -1.0)
            best = np.maximum.reduceat(gain, cells.start)
            better = np.flatnonzero(best > most)
            if not len(better):
                continue
            is_best = np.flatnonzero(gain == best[cells.node])
            place = np.zeros(part.nodes, np.int64)
            place[cells.node[is_best[::-1]]] = is_best[::-1]
            most[better], column[better] = best[better], number
            at[better] = cells.code[place[better]]
        return column, at

    def _sensitive(self, part: _Part) -> list[SensitiveColumn]:
        """The sensitive values of the tuples that are left, by their places in ``part``."""
        if not self._criteria.models:
            return []
        new = np.full(len(self._tuples.weights), _NOBODY, np.int64)
        new[part.places] = np.arange(len(part.places))
        found = []
        for column in self._tuples.sensitive:
            place = new[column.tuples]
            kept = place >= 0
            found.append(
                SensitiveColumn(
                    column.name,
                    place[kept],
                    column.values[kept],
                    column.weights[kept],
                    column.count,
                    column.parents,
                )
            )
        return found

    def _holding(self, cells: _Cells, enough: Mask, sensitive: Sequence[SensitiveColumn]) -> Mask:
        """Of the cuts after each cell that leave enough rows, those whose sides hold the models."""
        widest = max(column.count for column in sensitive)
        candidates = np.flatnonzero(enough)
        if len(candidates) * widest > _MOST_CELLS:
            some = np.linspace(0, len(candidates) - 1, max(1, _MOST_CELLS // widest))
            candidates = candidates[some.astype(np.int64)]
        # Histograms are added up between the candidates and the ends of nodes.
        marks = np.union1d(candidates, cells.end - 1)
        section = np.searchsorted(marks, np.arange(len(cells.node)))
        mine = np.searchsorted(marks, candidates)
        last = np.searchsorted(marks, cells.end - 1)
        first = np.concatenate([[-1], last[:-1]])
        good = np.ones(len(candidates), bool)
        for model_column, counted in zip(self._criteria.columns, sensitive, strict=True):
            keys = section[cells.of_tuple[counted.tuples]] * counted.count + counted.values
            rows = added_up(keys, counted.weights, len(marks) * counted.count)
            running = np.cumsum(rows.reshape(len(marks), counted.count), axis=0)
            running = np.vstack([np.zeros(counted.count), running])
            node = cells.node[candidates]
            start = running[first[node] + 1]
            below = running[mine + 1] - start
            above = running[last[node] + 1] - running[mine + 1]
            for model in self._criteria.models:
                if model.column is model_column:
                    left = np.flatnonzero(good)
                    good[left] &= (model.lost(below[left]) == 0) & (model.lost(above[left]) == 0)
        found = np.zeros(len(enough), bool)
        found[candidates[good]] = True
        return found


def _cells(part: _Part, column: OrderedColumn, weights: Numbers) -> _Cells:
    key = part.node * column.width + column.codes[part.places]
    span = part.nodes * column.width
    if span <= _DENSE:
        # Not by number of rows: people of the population have none.
        seen = np.zeros(span, bool)
        seen[key] = True
        present = np.flatnonzero(seen)
        place = np.zeros(span, np.int64)
        place[present] = np.arange(len(present))
        of_tuple = place[key]
    else:
        present, of_tuple = np.unique(key, return_inverse=True)
    rows = added_up(of_tuple, weights, len(present))
    node, code = np.divmod(present, column.width)
    start = np.flatnonzero(np.diff(node, prepend=-1))
    end = np.append(start[1:], len(node))
    return _Cells(node, code, rows, of_tuple, start, end)


def _gain(column: OrderedColumn, cells: _Cells, below: Numbers, above: Numbers) -> Numbers:
    """By how much a cut after each cell reduces the column's loss, in rows."""
    first, last = cells.start[cells.node], cells.end[cells.node] - 1
    if column.interval:
        # The distance of values is counted in values that occur.
        place, following = cells.code, np.append(cells.code[1:], 0)
    else:
        place = np.arange(len(cells.node))
        following = place + 1
    whole, lower, upper = place[last] - place[first], place - place[first], place[last] - following
    gain: Numbers = (below + above) * whole - below * lower - above * upper
    return gain / max(1, column.leaves - 1)


def _cell_loss(column: OrderedColumn, classes: Codes) -> Numbers:
    """The Normalized Certainty Penalty of a column's cell in each class."""
    kept = classes >= 0
    of_tuple, codes = classes[kept], column.codes[kept]
    number = int(of_tuple.max(initial=-1)) + 1
    if column.interval:
        highest, lowest = np.zeros(number, np.int64), np.full(number, column.width)
        np.maximum.at(highest, of_tuple, codes)
        np.minimum.at(lowest, of_tuple, codes)
        more = highest - lowest
    else:
        pairs, count = renumbered(of_tuple * column.width + codes)
        first = first_places(pairs, count)
        more = np.bincount(of_tuple[first], minlength=number) - 1
    found: Numbers = more / max(1, column.leaves - 1)
    return found
