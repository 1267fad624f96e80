"""Global (full-domain) recoding: the exact minimum of the loss over the lattice.

A node gives each quasi-identifier one level. Rows in equivalence classes that do not satisfy the
privacy models are suppressed, up to a limit. Sources: Samarati, "Protecting Respondents'
Identities in Microdata Release" (IEEE TKDE 2001); LeFevre, DeWitt, Ramakrishnan, "Incognito"
(SIGMOD 2005). The loss is the Normalized Certainty Penalty (Xu et al., KDD 2006): the mean over
cells of (leaves under the label - 1) / (leaves - 1), a suppressed cell counting 1.

The cost of one node bounds that of many others. A class that does not satisfy a model loses at
least some share of its rows at every finer node too (see `_criteria`), where their cells were
finer. Therefore suppression adds at a finer node at least what that share adds here, and a node
that loses too much rules out all finer ones. Nodes are tried from the middle of those that can
still be the best, and the search ends when none can. The classes of one node are the tuples of
coarser ones, so that each node is computed from the fewest tuples that suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize._coding import Codes
from airflow_mlsec.anonymize.recoding._classes import (
    Classes,
    CodedColumn,
    Mask,
    Numbers,
    Tuples,
    whole_persons,
)
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.errors import GuaranteeNotMet

# The node to try next: its position among the nodes that can still be the best, by increasing loss.
_NEXT = 0.65
# Up to this many nodes are searched exactly.
MOST_NODES = 1 << 18
_ROUNDING = 1e-12
_TIE = 1e-10
# Nodes whose classes are kept as tuples for coarser ones, if there are far fewer of them.
_MOST_BASES = 32
_MUCH_FEWER = 0.6
_FEW_TUPLES = 512


@dataclass(frozen=True)
class Recoding:
    """The best node: a level per column, the class of each tuple, and what it costs."""

    levels: tuple[int, ...]
    classes: Codes
    released: Mask
    suppressed_rows: int
    loss: float
    nodes_evaluated: int
    # A lower bound of the loss of all nodes, if this node is not known to be the best.
    bound: float | None = None


@dataclass(frozen=True)
class _Outcome:
    """A node that was tried: the rows and the added loss of what is suppressed, and of the least
    that is suppressed at every finer node."""

    rows: int
    added: float
    least_rows: float
    least_added: float


class Evaluator:
    """Tries nodes."""

    def __init__(self, tuples: Tuples, criteria: Criteria, allowed: int) -> None:
        self._criteria, self._allowed = criteria, allowed
        self._tuples = tuples
        self._cells = float(tuples.weights.sum()) * len(tuples.columns)
        self.bounds = [
            np.array([_dot(loss, tuples.weights) / self._cells for loss in column.loss])
            for column in tuples.columns
        ]
        self._bases: list[tuple[npt.NDArray[np.int8], Tuples]] = []
        if criteria.models:
            # Tuples that differ only in a sensitive value are one.
            bottom = np.zeros(len(tuples.columns), np.int8)
            self._bases.append(
                (bottom, tuples.merged(bottom.tolist(), tuples.group(bottom.tolist(), True)))
            )

    def __call__(self, node: npt.NDArray[np.int8]) -> _Outcome:
        levels = tuple(node.tolist())
        base = self._base(node)
        worthwhile = len(self._bases) < _MOST_BASES and len(base.weights) > _FEW_TUPLES
        classes = base.group(levels, bool(self._criteria.models) or worthwhile)
        if worthwhile and len(classes.sizes) <= len(base.weights) * _MUCH_FEWER:
            self._bases.append((node, base.merged(levels, classes)))
        small = self._criteria.small(classes)
        lost, rows = small, _dot(small, classes.sizes)
        if rows <= self._allowed and self._criteria.models:
            lost = self._criteria.lost(classes, base.sensitive)
        # What is suppressed for the limits of the whole is not necessarily lost at finer nodes too.
        settled = self._criteria.too_small(classes, lost)
        gone = settled if settled is small else (settled > 0).astype(np.float64)
        rows, added = _dot(gone, classes.sizes), self._added(base, levels, gone, classes)
        if settled is small:
            return _Outcome(whole_persons(rows), added, rows, added)
        least = _dot(lost, classes.sizes), self._added(base, levels, lost, classes)
        return _Outcome(whole_persons(rows), added, *least)

    def classes(self, levels: Sequence[int]) -> tuple[Classes, Mask]:
        """The classes of a node, and which tuples are released."""
        classes = self._tuples.group(levels, True)
        lost = self._criteria.lost(classes, self._tuples.sensitive)
        lost = self._criteria.too_small(classes, lost)
        return classes, lost[classes.of_tuple] == 0

    def _base(self, node: npt.NDArray[np.int8]) -> Tuples:
        """The fewest tuples from which a node can be computed."""
        found = self._tuples
        for finer, tuples in self._bases:
            if len(tuples.weights) < len(found.weights) and bool((finer <= node).all()):
                found = tuples
        return found

    def _added(
        self, base: Tuples, levels: Sequence[int], share: Numbers, classes: Classes
    ) -> float:
        """The loss that is added by suppressing a share of each class."""
        return _dot(share[classes.of_tuple], base.kept(levels)) / self._cells


def _dot(one: Numbers, other: Numbers) -> float:
    """The dot product, without BLAS, which would start other threads for so little work."""
    return float(np.einsum("i,i->", one, other))


def search(
    tuples: Tuples,
    criteria: Criteria,
    suppression_limit: float,
    progress: Callable[[int], None] = lambda nodes: None,
    known: tuple[int, ...] | None = None,
    trials: int | None = None,
) -> Recoding:
    """The node of least loss whose suppressed rows stay within the limit. A good node that is ``known``
    rules out from the beginning what cannot be better. After ``trials`` nodes, if given, the search
    ends with the best so far, and a lower bound of the loss of those left.

    :raises GuaranteeNotMet: if no node stays within the limit.
    """
    total = round(float(tuples.weights.sum()))
    allowed = int(suppression_limit * total + 1e-9)
    evaluate = Evaluator(tuples, criteria, allowed)
    nodes, bound = _lattice(evaluate.bounds)
    # A lower bound of what suppression adds to each node.
    added = np.zeros(len(bound))
    best: tuple[float, tuple[int, ...], _Outcome] | None = None
    least, tried = total, 0
    if known is not None:
        outcome = evaluate(np.array(known, np.int8))
        if outcome.rows <= allowed:
            at_known = sum(
                float(b[at]) + _TIE * at for b, at in zip(evaluate.bounds, known, strict=True)
            )
            best = at_known + outcome.added, known, outcome
    alive = np.flatnonzero(bound < (best[0] - _ROUNDING if best else np.inf))
    while len(alive) and (trials is None or tried < trials):
        if len(alive) < len(bound) / 2:
            nodes, bound, added = nodes[:, alive], bound[alive], added[alive]
            alive = np.arange(len(alive))
        chosen = int(alive[int(len(alive) * _NEXT)])
        node, at_least = nodes[:, chosen], float(bound[chosen])
        outcome = evaluate(node)
        tried += 1
        least = min(least, outcome.rows)
        if outcome.rows <= allowed and (best is None or at_least + outcome.added < best[0]):
            best = at_least + outcome.added, tuple(node.tolist()), outcome
        too_many = outcome.least_rows > allowed + _ROUNDING * total
        most = np.inf if too_many else outcome.least_added
        np.maximum(added, most, out=added, where=_finer(nodes, node))
        added[chosen] = np.inf
        alive = np.flatnonzero(bound + added < (best[0] - _ROUNDING if best else np.inf))
        if tried % 64 == 0:
            progress(tried)
    if best is None:
        raise not_met(criteria, least, total, tuples.columns, suppression_limit)
    loss, levels, outcome = best
    loss -= _TIE * sum(levels)
    classes, released = evaluate.classes(levels)
    below = min(loss, float((bound + added)[alive].min())) if len(alive) else None
    return Recoding(levels, classes.of_tuple, released, outcome.rows, loss, tried, below)


def lattice_nodes(columns: Sequence[CodedColumn]) -> int:
    """How many nodes the lattice of some columns has."""
    return prod(column.height + 1 for column in columns)


def _finer(nodes: npt.NDArray[np.int8], node: npt.NDArray[np.int8]) -> Mask:
    """Which nodes are finer than a node, or the node itself."""
    found: Mask = nodes[0] <= node[0]
    for levels, level in zip(nodes[1:], node[1:], strict=True):
        found &= levels <= level
    return found


def _lattice(bounds: list[Numbers]) -> tuple[npt.NDArray[np.int8], Numbers]:
    """All nodes (columns by nodes) by increasing loss without suppression, and that loss."""
    shape = [len(levels) for levels in bounds]
    nodes = np.indices(shape, dtype=np.int8).reshape(len(shape), -1)
    loss = np.zeros(nodes.shape[1])
    for levels, at in zip(bounds, nodes, strict=True):
        # Of nodes with the same loss the finer one is better.
        loss += levels[at] + _TIE * at
    order = np.argsort(loss, kind="stable")
    return np.ascontiguousarray(nodes[:, order]), loss[order]


def not_met(
    criteria: Criteria, least: int, total: int, columns: Sequence[CodedColumn], limit: float
) -> GuaranteeNotMet:
    return GuaranteeNotMet(
        f"{criteria} cannot be reached: at best {least} of {total} rows would have to be "
        f"suppressed, and suppression_limit allows {int(limit * total + 1e-9)}. Raise "
        f"`suppression_limit` to {least / total:.4f}, ask for less, or give columns that have only a "
        f"fixed `transform` a `hierarchy` ({_costliest(columns)})"
    )


def _costliest(columns: Sequence[CodedColumn]) -> str:
    """The column that keeps the most labels even at its coarsest level."""
    most = max(columns, key=lambda column: column.widths[-1])
    return f"'{most.name}' still has {most.widths[-1]} labels at its coarsest level"
