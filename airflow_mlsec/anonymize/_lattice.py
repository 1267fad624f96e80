"""k-anonymity by global (full-domain) recoding: the least loss over the lattice.

A node gives each quasi-identifier one level. Rows in equivalence classes smaller than k are
suppressed, up to a limit. Sources: Samarati, "Protecting Respondents' Identities in Microdata
Release" (IEEE TKDE 2001); LeFevre, DeWitt, Ramakrishnan, "Incognito" (SIGMOD 2005). The loss
is the Normalized Certainty Penalty (Xu et al., KDD 2006): the mean over cells of
(leaves under the label - 1) / (leaves - 1), a suppressed cell counting 1.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from airflow_mlsec.errors import GuaranteeNotMet

Codes = npt.NDArray[np.int64]
Weights = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CodedColumn:
    """One quasi-identifier of the weighted tuples.

    ``codes[level]`` is the label of each tuple at that level; ``loss[level]`` the loss of
    each tuple's cell, between 0 and 1.
    """

    name: str
    codes: list[Codes]
    loss: list[npt.NDArray[np.float64]]

    @property
    def height(self) -> int:
        return len(self.codes) - 1


@dataclass(frozen=True)
class Recoding:
    """The best node: a level per column, the class of each tuple, and what it costs."""

    levels: tuple[int, ...]
    classes: Codes
    released: npt.NDArray[np.bool_]
    suppressed_rows: int
    loss: float
    nodes_evaluated: int


def search(
    columns: list[CodedColumn],
    weights: Weights,
    k: int,
    suppression_limit: float,
    progress: Callable[[int], None] = lambda nodes: None,
) -> Recoding:
    """The node of least loss whose suppressed rows stay within the limit.

    Exact: nodes are visited by rising loss without suppression, which bounds a node's loss
    from below, and the search ends when that bound passes the best loss found.

    :raises GuaranteeNotMet: if no node stays within the limit.
    """
    total = int(weights.sum())
    allowed = int(suppression_limit * total + 1e-9)
    bounds = [[float(loss @ weights) / total for loss in column.loss] for column in columns]
    start = (0,) * len(columns)
    queue = [(_mean(bounds, start), start)]
    seen = {start}
    best: Recoding | None = None
    least_suppressed, evaluated = total, 0
    while queue and (best is None or queue[0][0] < best.loss):
        bound, node = heapq.heappop(queue)
        evaluated += 1
        classes, sizes = _classes(columns, node, weights)
        small = sizes[classes] < k
        suppressed = int(weights[small].sum())
        least_suppressed = min(least_suppressed, suppressed)
        if suppressed <= allowed:
            loss = bound + _cost_of_suppression(columns, node, weights, small, total)
            if best is None or loss < best.loss:
                best = Recoding(node, classes, ~small, suppressed, loss, evaluated)
        for i, column in enumerate(columns):
            if node[i] < column.height:
                above = (*node[:i], node[i] + 1, *node[i + 1 :])
                if above not in seen:
                    seen.add(above)
                    heapq.heappush(queue, (_mean(bounds, above), above))
        if evaluated % 256 == 0:
            progress(evaluated)
    if best is None:
        raise GuaranteeNotMet(
            f"k-anonymity with k={k} cannot be reached: at best {least_suppressed} of {total} rows "
            f"would have to be suppressed, and suppression_limit allows {allowed}. Raise "
            f"`suppression_limit` to {least_suppressed / total:.4f}, lower `k_anonymity`, or give "
            "columns that have only a fixed `transform` a `hierarchy`"
        )
    return best


def _mean(bounds: list[list[float]], node: tuple[int, ...]) -> float:
    return sum(bound[level] for bound, level in zip(bounds, node, strict=True)) / len(bounds)


def _classes(
    columns: list[CodedColumn], node: tuple[int, ...], weights: Weights
) -> tuple[Codes, Weights]:
    classes = np.zeros(len(weights), np.int64)
    for column, level in zip(columns, node, strict=True):
        codes = column.codes[level]
        width = int(codes.max(initial=0)) + 1
        if width == 1:
            continue
        _, classes = np.unique(classes * width + codes, return_inverse=True)
    sizes = np.bincount(classes, weights=weights).astype(np.int64)
    return classes.astype(np.int64), sizes


def _cost_of_suppression(
    columns: list[CodedColumn],
    node: tuple[int, ...],
    weights: Weights,
    small: npt.NDArray[np.bool_],
    total: int,
) -> float:
    extra = 0.0
    for column, level in zip(columns, node, strict=True):
        extra += float((1.0 - column.loss[level][small]) @ weights[small])
    return extra / (len(columns) * total)
