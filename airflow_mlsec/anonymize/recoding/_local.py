"""Local recoding over hierarchies: each class is generalized only as far as it needs.

Classes are released in bands of their own loss, the cheapest first. Within a band the nodes of the
lattice are visited by increasing mean loss. At each node, the classes of the remaining tuples that
satisfy the privacy models are released; the others wait for coarser nodes. For each band the mean
loss of the remaining tuples is computed again: rare values are often cheap where common ones are
expensive. A tuple belongs to the first step that released its labels, so that the list of steps is
a function of the row alone, also for rows never seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize._coding import Codes, first_places
from airflow_mlsec.anonymize.recoding._classes import CodedColumn, Mask, Tuples, whole_persons
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.anonymize.recoding._mondrian import OrderedColumn, partition
from airflow_mlsec.anonymize.recoding._remainder import Left, Node, Range, chosen_sensitive
from airflow_mlsec.errors import GuaranteeNotMet

# If there are more nodes than this, only a sample of the coarser ones is visited; if there are
# still more, only those that the table itself suggests are listed.
_MOST_NODES = 5_000
_MOST_LISTED = 1 << 21
# The upper limits of the bands, as mean loss of a cell: more bands lose a little less, and take
# longer.
_BANDS = np.linspace(0.1, 1, 12) ** 3


@dataclass(frozen=True)
class Step:
    """What one node released: a tuple of each class."""

    levels: Node
    tuples: Codes


@dataclass(frozen=True)
class LocalRecoding:
    """The steps in their order, the step and class of each tuple (-1: suppressed), and the cost."""

    steps: tuple[Step, ...]
    classes: Codes
    suppressed_rows: int
    loss: float
    # The node of each class: classes by columns.
    nodes: npt.NDArray[np.int64]

    @property
    def released(self) -> Mask:
        """Which tuples are released."""
        found: Mask = self.classes >= 0
        return found


def recode_locally(
    tuples: Tuples,
    criteria: Criteria,
    suppression_limit: float,
    progress: Callable[[int], None] = lambda nodes: None,
) -> LocalRecoding:
    """Release every tuple as fine as the privacy models allow.

    :raises GuaranteeNotMet: if more rows are left than the limit allows.
    """
    peel = _Peel(tuples, criteria, progress)
    peel.run()
    total = float(tuples.weights.sum())
    allowed = int(suppression_limit * total + 1e-9)
    # What is left is too little for a class of its own: it joins the classes released last.
    while whole_persons(peel.rows_left()) > allowed and peel.released:
        peel.take_back()
    left = whole_persons(peel.rows_left())
    if left > allowed:
        raise GuaranteeNotMet(
            f"{criteria} cannot be reached: {left} of {round(total)} rows would have to be suppressed, "
            f"and suppression_limit allows {allowed}. Raise `suppression_limit` to {left / total:.4f}, or "
            "ask for less"
        )
    return peel.recoding(left)


class _Peel:
    """What has been released so far, and what is left."""

    def __init__(self, tuples: Tuples, criteria: Criteria, progress: Callable[[int], None]) -> None:
        self._tuples, self._criteria, self._progress = tuples, criteria, progress
        # Each class: its node, and its tuples.
        self.released: list[tuple[Node, Codes]] = []
        self._left: Codes = np.zeros(0, np.int64)
        self._visited = 0

    def rows_left(self) -> float:
        """Rows that are in no class."""
        return float(self._tuples.weights[self._left].sum())

    def take_back(self) -> None:
        """Merge the last class with the remaining tuples, and release both at the node where they
        have the same labels, if the models are satisfied there."""
        _, last = self.released.pop()
        places = np.concatenate([self._left, last])
        node = tuple(
            next(at for at, codes in enumerate(column.codes) if len(np.unique(codes[places])) == 1)
            if len(np.unique(column.codes[-1][places])) == 1
            else -1
            for column in self._tuples.columns
        )
        self._left = places
        if min(node) < 0:
            return
        rest = _restricted(self._tuples, places)
        classes = rest.group(node, True)
        if not self._criteria.lost(classes, rest.sensitive).any():
            self.released.append((node, places))
            self._left = np.zeros(0, np.int64)

    def run(self) -> None:
        """Release the classes of the nodes, band by band of loss, until all is released."""
        left = Left(self._tuples)
        nodes = _nodes(self._tuples, self._criteria)
        edges = _BANDS * len(self._tuples.columns)
        # A cell never loses more than 1, except for rounding.
        for low, high in itertools.pairwise([-1.0, *edges[:-1], np.inf]):
            band = Range(np.float32(low), np.float32(high))
            queue, at = _in_band(nodes, left, band), 0
            while at < len(queue) and left.rows:
                some = queue[at : at + left.batch()]
                at += len(some)
                for node in left.promising(some, band, self._criteria.k):
                    classes = left.release(node, band, self._criteria)
                    self.released += [(node, members) for members in classes]
                self._visited += len(some)
                if self._visited // 1024 > (self._visited - len(some)) // 1024:
                    self._progress(self._visited)
        self._left = left.waiting

    def recoding(self, suppressed: int) -> LocalRecoding:
        """All that was released, as steps."""
        weights, columns = self._tuples.weights, self._tuples.columns
        classes = np.full(len(weights), -1, np.int64)
        if self.released:
            members = np.concatenate([members for _, members in self.released])
            lengths = [len(members) for _, members in self.released]
            classes[members] = np.repeat(np.arange(len(lengths)), lengths)
        steps = []
        for levels, classes_there in itertools.groupby(self.released, lambda one: one[0]):
            firsts = [members[0] for _, members in classes_there]
            steps.append(Step(levels, np.array(firsts, np.int64)))
        nodes = np.array([node for node, _ in self.released], np.int64).reshape(-1, len(columns))
        lost = float(suppressed) * len(columns)
        kept = np.flatnonzero(classes >= 0)
        for column, levels in zip(columns, nodes.T, strict=True):
            lost += float(
                (np.stack(column.loss)[levels[classes[kept]], kept] * weights[kept]).sum()
            )
        loss = lost / (weights.sum() * len(columns))
        return LocalRecoding(tuple(steps), classes, suppressed, loss, nodes)


def _restricted(tuples: Tuples, places: Codes) -> Tuples:
    """Some of the tuples."""
    columns = [
        CodedColumn(
            column.name,
            [codes[places] for codes in column.codes],
            [loss[places] for loss in column.loss],
            tuple(column.widths),
        )
        for column in tuples.columns
    ]
    sensitive = [chosen_sensitive(c, places, len(tuples.weights)) for c in tuples.sensitive]
    return Tuples(columns, tuples.weights[places], sensitive)


def _nodes(tuples: Tuples, criteria: Criteria) -> npt.NDArray[np.int8]:
    """The nodes to visit (columns by nodes): all, or, if the lattice is too large, those that cover
    the parts into which the tuples can be cut."""
    shape = [column.height + 1 for column in tuples.columns]
    if prod(shape) > _MOST_LISTED:
        return _covering(tuples, criteria)
    return np.indices(shape, dtype=np.int8).reshape(len(shape), -1)


def _covering(tuples: Tuples, criteria: Criteria) -> npt.NDArray[np.int8]:
    """The finest node that covers each part of multidimensional partitions, whose parts are made
    larger step by step; values that are together in the hierarchies are neighbours."""
    ordered = [_in_order(column) for column in tuples.columns]
    found = [np.array([[column.height for column in tuples.columns]], np.int8)]
    k, rows = criteria.k, float(tuples.weights.sum())
    while k <= rows / 2:
        # Models are checked when nodes are visited; here only size decides which rows belong together.
        parts = partition(ordered, Tuples((), tuples.weights), Criteria(k), 1.0)
        found.append(_common_levels(tuples, parts.classes))
        k *= 2
    return np.ascontiguousarray(np.unique(np.concatenate(found), axis=0).T)


def _in_order(column: CodedColumn) -> OrderedColumn:
    leaves, first = np.unique(column.codes[0], return_index=True)
    by_level = [codes[first] for codes in column.codes]
    order = np.lexsort(by_level)
    rank = np.empty(len(leaves), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[np.searchsorted(leaves, column.codes[0])]
    return OrderedColumn(
        column.name, codes, len(leaves), max(1, column.leaves), fixed=column.height == 0
    )


def _common_levels(tuples: Tuples, classes: Codes) -> npt.NDArray[np.int8]:
    """For each class the lowest level of each column at which all its tuples have one label."""
    number = int(classes.max(initial=-1)) + 1
    kept = np.flatnonzero(classes >= 0)
    of_tuple = classes[kept]
    first = first_places(of_tuple, number)
    levels = np.zeros((number, len(tuples.columns)), np.int8)
    for place, column in enumerate(tuples.columns):
        for at, codes in enumerate(column.codes):
            labels = codes[kept]
            differ = np.zeros(number, bool)
            differ[of_tuple[labels != labels[first][of_tuple]]] = True
            levels[differ, place] = min(at + 1, column.height)
    return levels


def _in_band(nodes: npt.NDArray[np.int8], left: Left, band: Range) -> list[Node]:
    """The nodes at which remaining tuples may have a loss within the band, by increasing mean
    loss."""
    least, mean, most = np.zeros((3, nodes.shape[1]))
    for (lowest, middle, highest), at in zip(left.losses(), nodes, strict=True):
        least += lowest[at]
        # Of nodes with the same loss the finer one comes first.
        mean += middle[at] + 1e-10 * at
        most += highest[at]
    # The limits of the band are numbers of half the precision.
    slack = 1e-5 * len(nodes)
    there = np.flatnonzero((least <= band.high + slack) & (most > band.low - slack))
    order = there[np.argsort(mean[there], kind="stable")]
    if len(order) > _MOST_NODES:
        half = _MOST_NODES // 2
        sampled = np.linspace(half, len(order) - 1, half).astype(np.int64)
        order = order[np.concatenate([np.arange(half), sampled])]
    return [tuple(node) for node in nodes[:, order].T.tolist()]
