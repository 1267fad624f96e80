"""Local recoding over hierarchies: each class is generalized as little as it needs.

The nodes of the lattice are visited by rising mean loss; whatever classes of the tuples that are
left hold the privacy models at a node are released there, and the others wait for coarser
nodes. As tuples go, the mean loss of those that are left is worked out anew: rare values are
often cheap where common ones are dear. A tuple belongs to the first step that released its
labels, so that the list of steps is a function of the row alone, also of rows never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize._classes import (
    CodedColumn,
    Mask,
    Numbers,
    SensitiveColumn,
    Tuples,
)
from airflow_mlsec.anonymize._coding import Codes, first_places
from airflow_mlsec.anonymize._criteria import Criteria
from airflow_mlsec.anonymize._mondrian import OrderedColumn, partition
from airflow_mlsec.errors import GuaranteeNotMet

# Of more nodes than this the coarser ones are visited in samples; of still more only those that the
# table itself suggests are listed.
_MOST_NODES = 20_000
_MOST_LISTED = 1 << 21
# The order is worked out anew when so much of the rows is left of those that it was made for.
_REORDER = 0.9


@dataclass(frozen=True)
class Step:
    """What one node released: a tuple of each class."""

    levels: tuple[int, ...]
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
    """Release every tuple as fine as the privacy models let it.

    :raises GuaranteeNotMet: if more rows are left than the limit allows.
    """
    peel = _Peel(tuples, criteria, progress)
    peel.run(np.arange(len(tuples.weights)))
    total = float(tuples.weights.sum())
    allowed = int(suppression_limit * total + 1e-9)
    # What is left is too little for a class of its own: it joins the classes released last.
    while peel.rows_left() > allowed and peel.released:
        peel.take_back()
    left = round(peel.rows_left())
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
        self.released: list[tuple[tuple[int, ...], Codes]] = []
        self._left: Codes = np.zeros(0, np.int64)
        self._visited = 0

    def rows_left(self) -> float:
        """Rows that no class has."""
        return float(self._tuples.weights[self._left].sum())

    def take_back(self) -> None:
        """Put the last class together with what is left, and release both where they have the
        same labels, if the models hold there."""
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

    def run(self, places: Codes) -> None:
        """Visit the nodes until all of some tuples are released."""
        rest = _restricted(self._tuples, places)
        nodes = _nodes(rest, self._criteria)
        queue, ordered_at, position = _by_loss(nodes, rest), rest.weights.sum(), 0
        while len(places) and position < queue.shape[1]:
            node = tuple(queue[:, position].tolist())
            position += 1
            self._visited += 1
            if self._visited % 1024 == 0:
                self._progress(self._visited)
            if not rest.may_have(node, self._criteria.k):
                continue
            classes = rest.group(node, True)
            if not (classes.sizes >= self._criteria.k).any():
                continue
            holds = self._criteria.lost(classes, rest.sensitive) == 0
            going = holds[classes.of_tuple]
            if not going.any():
                continue
            order = np.argsort(classes.of_tuple[going], kind="stable")
            numbers = classes.of_tuple[going][order]
            starts = np.flatnonzero(np.diff(numbers)) + 1
            self.released += [(node, part) for part in np.split(places[going][order], starts)]
            places, rest = places[~going], _restricted(rest, np.flatnonzero(~going))
            if rest.weights.sum() < ordered_at * _REORDER:
                queue = _by_loss(queue[:, position:], rest)
                ordered_at, position = rest.weights.sum(), 0
        self._left = places

    def recoding(self, suppressed: int) -> LocalRecoding:
        """All that was released, as steps."""
        weights, columns = self._tuples.weights, self._tuples.columns
        classes = np.full(len(weights), -1, np.int64)
        steps: list[tuple[tuple[int, ...], list[int]]] = []
        lost = float(suppressed) * len(columns)
        for number, (node, members) in enumerate(self.released):
            classes[members] = number
            if not steps or steps[-1][0] != node:
                steps.append((node, []))
            steps[-1][1].append(int(members[0]))
            first = members[0]
            loss = sum(column.loss[at][first] for column, at in zip(columns, node, strict=True))
            lost += float(loss) * float(weights[members].sum())
        made = tuple(Step(node, np.array(listed, np.int64)) for node, listed in steps)
        nodes = np.array([node for node, _ in self.released], np.int64).reshape(-1, len(columns))
        loss = lost / (weights.sum() * len(columns))
        return LocalRecoding(made, classes, suppressed, loss, nodes)


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
    sensitive = [_sensitive(column, places, len(tuples.weights)) for column in tuples.sensitive]
    return Tuples(columns, tuples.weights[places], sensitive)


def _sensitive(column: SensitiveColumn, places: Codes, number: int) -> SensitiveColumn:
    new = np.full(number, -1, np.int64)
    new[places] = np.arange(len(places))
    found = new[column.tuples]
    kept = found >= 0
    return SensitiveColumn(
        column.name, found[kept], column.values[kept], column.weights[kept], column.count,
        column.parents,
    )  # fmt: skip


def _nodes(tuples: Tuples, criteria: Criteria) -> npt.NDArray[np.int8]:
    """The nodes to visit (columns by nodes): all, or of a lattice that is too large those that cover
    the parts into which the tuples can be cut."""
    shape = [column.height + 1 for column in tuples.columns]
    if prod(shape) > _MOST_LISTED:
        return _covering(tuples, criteria)
    return np.indices(shape, dtype=np.int8).reshape(len(shape), -1)


def _covering(tuples: Tuples, criteria: Criteria) -> npt.NDArray[np.int8]:
    """The finest node that covers each part of multidimensional partitions into parts of ever more
    rows; neighbouring values are those that lie together in the hierarchies."""
    ordered = [_in_order(column) for column in tuples.columns]
    found = [np.array([[column.height for column in tuples.columns]], np.int8)]
    k, rows = criteria.k, float(tuples.weights.sum())
    while k <= rows / 2:
        # Models are looked at when nodes are visited; here size alone tells where rows lie together.
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
    """Of each class the lowest level of each column at which all have one label."""
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


def _by_loss(nodes: npt.NDArray[np.int8], rest: Tuples) -> npt.NDArray[np.int8]:
    """Nodes by the loss that they would mean for the tuples that are left."""
    total = max(float(rest.weights.sum()), 1.0)
    loss: Numbers = np.zeros(nodes.shape[1])
    for column, at in zip(rest.columns, nodes, strict=True):
        mean = np.array([float((lost * rest.weights).sum()) / total for lost in column.loss])
        # Of nodes that lose the same the finer one comes first.
        loss += mean[at] + 1e-10 * at
    order = np.argsort(loss, kind="stable")
    if len(order) > _MOST_NODES:
        half = _MOST_NODES // 2
        sampled = np.linspace(half, len(order) - 1, half).astype(np.int64)
        order = order[np.concatenate([np.arange(half), sampled])]
    return np.ascontiguousarray(nodes[:, order])
