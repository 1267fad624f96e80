"""Global recoding when the lattice is too large to be searched exactly: a good node, and how far it can be
from the best.

The least loss of the whole is at least that of its parts. Columns are divided into groups whose
own lattices are small; the loss that the exact search finds unavoidable for a group alone is
unavoidable in the whole too, where at least as much is suppressed. From the groups' best nodes a
feasible node is reached by raising levels, and improved by lowering and exchanging levels while
that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize.recoding import _lattice
from airflow_mlsec.anonymize.recoding._classes import CodedColumn, Tuples
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.errors import GuaranteeNotMet

Node = npt.NDArray[np.int64]

# Nodes of the lattice of one group, and of one that is searched as a whole.
_GROUP_NODES = 1 << 16
_LISTED_NODES = 1 << 20
_MOST_TRIALS = 2_000
# These stricter limits are tried as well, so that a looser limit gives no worse result.
_STRICTER = (0.5, 0.2)


def search_large(
    tuples: Tuples,
    criteria: Criteria,
    suppression_limit: float,
    progress: Callable[[int], None] = lambda nodes: None,
) -> _lattice.Recoding:
    """A node of little loss whose suppressed rows stay within the limit; its `bound` is a lower bound of
    the loss of all nodes.

    :raises GuaranteeNotMet: if not even the coarsest node stays within the limit.
    """
    # Only k-anonymity and models of classes carry over to parts.
    parts = replace(criteria, whole=())
    start = np.zeros(len(tuples.columns), np.int64)
    bound = 0.0
    for group in _groups(tuples.columns):
        some = Tuples([tuples.columns[i] for i in group], tuples.weights, tuples.sensitive)
        best = _lattice.search(some, parts, suppression_limit)
        bound += best.loss * len(group) / len(tuples.columns)
        start[group] = best.levels
    found = _best_of_limits(tuples, criteria, suppression_limit, progress, start, bound)
    if _lattice.lattice_nodes(tuples.columns) > _LISTED_NODES:
        return found
    # The nodes can be listed, even if not all can be tried: some more trials rule many out.
    more = _lattice.search(
        tuples, criteria, suppression_limit, progress, found.levels, _MOST_TRIALS
    )
    return more if more.bound is None else replace(more, bound=max(more.bound, bound))


def _best_of_limits(
    tuples: Tuples,
    criteria: Criteria,
    suppression_limit: float,
    progress: Callable[[int], None],
    start: Node,
    bound: float,
) -> _lattice.Recoding:
    """The best node that hill climbing finds within the limit, or within some stricter ones: where much may be
    suppressed, fine nodes lose everything, and so do their neighbours, so that no step leads away from them."""
    best: _lattice.Recoding | None = None
    for limit in [suppression_limit, *(x for x in _STRICTER if x < suppression_limit)]:
        climb = _Climb(tuples, criteria, limit, progress)
        try:
            found = climb.recoding(climb.improved(climb.feasible(start)), bound)
        except GuaranteeNotMet:
            if best is None:
                raise
            continue
        if best is None or found.loss < best.loss:
            best = found
    assert best is not None
    return best


class _Climb:
    """Moves from node to node."""

    def __init__(
        self,
        tuples: Tuples,
        criteria: Criteria,
        suppression_limit: float,
        progress: Callable[[int], None],
    ) -> None:
        total = round(float(tuples.weights.sum()))
        self._allowed = int(suppression_limit * total + 1e-9)
        self._evaluate = _lattice.Evaluator(tuples, criteria, self._allowed)
        self._tuples, self._criteria, self._limit = tuples, criteria, suppression_limit
        self._total, self._progress = total, progress
        self._heights = np.array([column.height for column in tuples.columns])
        self._known: dict[tuple[int, ...], tuple[int, float]] = {}

    def feasible(self, node: Node) -> Node:
        """The node, raised where that saves the most suppressed rows for the added loss, until few enough
        rows are suppressed."""
        while self._rows(node) > self._allowed:
            raised = [
                self._moved(node, i, 1) for i in np.flatnonzero(node < self._heights).tolist()
            ]
            if not raised:
                raise _lattice.not_met(
                    self._criteria, self._rows(node), self._total, self._tuples.columns, self._limit
                )
            rows, bound = self._rows(node), self._bound(node)
            node = max(
                raised,
                key=lambda n: (rows - self._rows(n)) / max(self._bound(n) - bound, 1e-9),
            )
        return node

    def improved(self, node: Node) -> Node:
        """The best node that steps from here reach, if each step must be an improvement."""
        while len(self._known) < _MOST_TRIALS:
            better = min(self._near(node), key=self._loss, default=node)
            if self._loss(better) >= self._loss(node) - 1e-12:
                return node
            node = better
        return node

    def recoding(self, node: Node, bound: float) -> _lattice.Recoding:
        levels = tuple(int(level) for level in node)
        classes, released = self._evaluate.classes(levels)
        rows, _ = self._known[levels]
        return _lattice.Recoding(
            levels,
            classes.of_tuple,
            released,
            rows,
            self._loss(node),
            len(self._known),
            min(bound, self._loss(node)),
        )

    def _near(self, node: Node) -> Iterator[Node]:
        """The nodes one level lower or higher in one column, or both in two columns, that are not ruled out by
        their loss without suppression."""
        best = self._loss(node)
        columns = range(len(node))
        single = [(i, step) for i in columns for step in (-1, 1)]
        pairs = [((i, -1), (j, 1)) for i in columns for j in columns if i != j]
        for moves in [*((move,) for move in single), *pairs]:
            found = node.copy()
            for place, step in moves:
                found[place] += step
            inside = bool(((found >= 0) & (found <= self._heights)).all())
            if inside and self._bound(found) < best and self._rows(found) <= self._allowed:
                yield found

    @staticmethod
    def _moved(node: Node, place: int, step: int) -> Node:
        found = node.copy()
        found[place] += step
        return found

    def _bound(self, node: Node) -> float:
        pairs = zip(self._evaluate.bounds, node.tolist(), strict=True)
        return float(sum(levels[at] for levels, at in pairs))

    def _rows(self, node: Node) -> int:
        return self._outcome(node)[0]

    def _loss(self, node: Node) -> float:
        return self._bound(node) + self._outcome(node)[1]

    def _outcome(self, node: Node) -> tuple[int, float]:
        key = tuple(int(level) for level in node)
        found = self._known.get(key)
        if found is None:
            outcome = self._evaluate(np.array(key, np.int8))
            found = self._known[key] = outcome.rows, outcome.added
            if len(self._known) % 64 == 0:
                self._progress(len(self._known))
        return found


def _groups(columns: Sequence[CodedColumn]) -> Iterator[list[int]]:
    """Columns divided into groups with small lattices. Those with the most values are grouped together,
    since the loss that they cannot avoid together is the best bound."""
    left = sorted(range(len(columns)), key=lambda i: -columns[i].widths[0])
    while left:
        group, nodes = [left.pop(0)], 0
        nodes = columns[group[0]].height + 1
        for place in list(left):
            if nodes * (columns[place].height + 1) <= _GROUP_NODES:
                nodes *= columns[place].height + 1
                group.append(place)
                left.remove(place)
        yield sorted(group)
