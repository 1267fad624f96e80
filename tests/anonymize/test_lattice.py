from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize._lattice import CodedColumn, search
from airflow_mlsec.errors import GuaranteeNotMet


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[CodedColumn], np.ndarray, int, float]:
    tuples = draw(st.integers(1, 14))
    columns = []
    for number in range(draw(st.integers(1, 3))):
        leaves = draw(st.lists(st.integers(0, 7), min_size=tuples, max_size=tuples))
        divisors = draw(st.sampled_from([[1, 8], [1, 2, 8], [1, 2, 4, 8], [1]]))
        codes = [np.array(leaves, np.int64) // d for d in divisors]
        loss = [np.full(tuples, (d - 1) / 7) for d in divisors]
        columns.append(CodedColumn(f"c{number}", codes, loss))
    weights = np.array(draw(st.lists(st.integers(1, 4), min_size=tuples, max_size=tuples)))
    return columns, weights, draw(st.integers(2, 5)), draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


def brute_force(
    columns: list[CodedColumn], weights: np.ndarray, k: int, limit: float
) -> float | None:
    """The definition, node by node and row by row."""
    best, total = None, int(weights.sum())
    for node in itertools.product(*(range(c.height + 1) for c in columns)):
        rows = [
            tuple(c.codes[v][i] for c, v in zip(columns, node, strict=True))
            for i in range(len(weights))
        ]
        sizes = {
            row: sum(w for r, w in zip(rows, weights, strict=True) if r == row) for row in rows
        }
        suppressed = sum(w for r, w in zip(rows, weights, strict=True) if sizes[r] < k)
        if suppressed > int(limit * total + 1e-9):
            continue
        loss = 0.0
        for i, row in enumerate(rows):
            for column, level in zip(columns, node, strict=True):
                loss += weights[i] * (1.0 if sizes[row] < k else column.loss[level][i])
        loss /= total * len(columns)
        best = loss if best is None or loss < best else best
    return best


@given(problems())
def test_the_search_finds_the_optimum(
    problem: tuple[list[CodedColumn], np.ndarray, int, float],
) -> None:
    columns, weights, k, limit = problem
    expected = brute_force(columns, weights, k, limit)
    if expected is None:
        with pytest.raises(GuaranteeNotMet, match="cannot be reached"):
            search(columns, weights, k, limit)
        return
    found = search(columns, weights, k, limit)
    assert found.loss == pytest.approx(expected)
    released = found.classes[found.released]
    for number in set(released.tolist()):
        assert weights[found.released][released == number].sum() >= k


def test_the_error_says_which_limit_would_do() -> None:
    column = CodedColumn("c", [np.array([0, 1])], [np.zeros(2)])
    with pytest.raises(GuaranteeNotMet, match=r"at best 2 of 12 rows .* to 0\.1667"):
        search([column], np.array([10, 2]), 5, 0.1)
