"""The search finds the optimum, for every privacy model, beside the definitions in plain Python."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize.recoding import _criteria as models
from airflow_mlsec.anonymize.recoding import _lattice, _lattice_large
from airflow_mlsec.anonymize.recoding._classes import CodedColumn, SensitiveColumn, Tuples
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.anonymize.recoding._criteria_likeness import BetaLikeness, DeltaDisclosure
from airflow_mlsec.anonymize.recoding._criteria_whole import AverageRisk
from airflow_mlsec.anonymize.recoding._lattice import search
from airflow_mlsec.anonymize.recoding._lattice_large import search_large
from airflow_mlsec.errors import GuaranteeNotMet

# Values 0…5 of the sensitive column lie in a hierarchy of three levels.
TREE = (np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1]), np.array([0, 0]))
VALUES = 6
Histogram = Counter[int]


def shares(found: Histogram) -> list[float]:
    return [found[v] / found.total() for v in range(VALUES)]


def distinct(found: Histogram, whole: Histogram) -> bool:
    return len(+found) >= 2


def entropy(found: Histogram, whole: Histogram) -> bool:
    return -sum(p * math.log(p) for p in shares(found) if p) >= math.log(1.8) - 1e-9


def recursive(found: Histogram, whole: Histogram) -> bool:
    ordered = sorted((+found).values(), reverse=True)
    return ordered[0] < 2.5 * sum(ordered[1:])


def equal(found: Histogram, whole: Histogram) -> bool:
    return (
        sum(abs(p - q) for p, q in zip(shares(found), shares(whole), strict=True)) / 2 <= 0.3 + 1e-9
    )


def ordered(found: Histogram, whole: Histogram) -> bool:
    pairs = list(zip(shares(found), shares(whole), strict=True))
    ahead = itertools.accumulate(p - q for p, q in pairs)
    return sum(map(abs, ahead)) / (VALUES - 1) <= 0.2 + 1e-9


def hierarchical(found: Histogram, whole: Histogram) -> bool:
    """What crosses each edge of the tree."""
    extra = dict(enumerate(p - q for p, q in zip(shares(found), shares(whole), strict=True)))
    crossing = 0.0
    for parents in TREE:
        crossing += sum(map(abs, extra.values()))
        above: dict[int, float] = {}
        for child, surplus in extra.items():
            above[int(parents[child])] = above.get(int(parents[child]), 0.0) + surplus
        extra = above
    return crossing / (2 * len(TREE)) <= 0.25 + 1e-9


def disclosure(found: Histogram, whole: Histogram) -> bool:
    return all(
        p > 0 and abs(math.log2(p / q)) < 1.2
        for p, q in zip(shares(found), shares(whole), strict=True)
        if q
    )


def likeness(found: Histogram, whole: Histogram) -> bool:
    return all(
        (p - q) / q <= min(1.5, -math.log(q)) + 1e-9
        for p, q in zip(shares(found), shares(whole), strict=True)
        if q
    )


MODELS: dict[str, tuple[Callable[[SensitiveColumn], Any], Callable[[Histogram, Histogram], bool]]] = {
    "distinct": (lambda c: models.DistinctDiversity(c, 2), distinct),
    "entropy": (lambda c: models.EntropyDiversity(c, 1.8), entropy),
    "recursive": (lambda c: models.RecursiveDiversity(c, 2, 2.5), recursive),
    "equal": (lambda c: models.EqualCloseness(c, 0.3), equal),
    "ordered": (lambda c: models.OrderedCloseness(c, 0.2), ordered),
    "disclosure": (lambda c: DeltaDisclosure(c, 1.2), disclosure),
    "likeness": (lambda c: BetaLikeness(c, 1.5), likeness),
    "hierarchical": (lambda c: models.HierarchicalCloseness(c, 0.25), hierarchical),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    columns: list[CodedColumn]
    weights: np.ndarray[Any, Any]
    values: list[int]
    k: int
    limit: float
    model: str | None

    def criteria(self) -> Criteria:
        if self.model is None:
            return Criteria(self.k)
        places = np.arange(len(self.weights))
        column = SensitiveColumn(
            "s", places, np.array(self.values), self.weights.astype(float), VALUES, TREE
        )
        return Criteria(self.k, (MODELS[self.model][0](column),))

    def tuples(self, criteria: Criteria) -> Tuples:
        return Tuples(self.columns, self.weights.astype(float), criteria.columns)

    def holds(self, rows: list[int]) -> bool:
        """Of a class, given the tuples in it."""
        if sum(self.weights[i] for i in rows) < self.k:
            return False
        if self.model is None:
            return True
        return MODELS[self.model][1](self.histogram(rows), self.histogram(range(len(self.weights))))

    def histogram(self, rows: Any) -> Histogram:
        found: Histogram = Counter()
        for i in rows:
            found[self.values[i]] += int(self.weights[i])
        return found


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    number = draw(st.integers(1, 14))
    columns = []
    for place in range(draw(st.integers(1, 3))):
        leaves = draw(st.lists(st.integers(0, 7), min_size=number, max_size=number))
        divisors = draw(st.sampled_from([[1, 8], [1, 2, 8], [1, 2, 4, 8], [1]]))
        codes = [np.array(leaves, np.int64) // d for d in divisors]
        loss = [np.full(number, (d - 1) / 7) for d in divisors]
        columns.append(CodedColumn(f"c{place}", codes, loss))
    return Problem(
        columns,
        np.array(draw(st.lists(st.integers(1, 4), min_size=number, max_size=number))),
        draw(st.lists(st.integers(0, VALUES - 1), min_size=number, max_size=number)),
        draw(st.integers(1, 5)),
        draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        draw(st.sampled_from([None, *MODELS])),
    )


def brute_force(problem: Problem) -> float | None:
    """The definition, node by node and row by row."""
    best, total = None, int(problem.weights.sum())
    for node in itertools.product(*(range(c.height + 1) for c in problem.columns)):
        classes: dict[tuple[int, ...], list[int]] = {}
        for i in range(len(problem.weights)):
            key = tuple(int(c.codes[v][i]) for c, v in zip(problem.columns, node, strict=True))
            classes.setdefault(key, []).append(i)
        suppressed = {i for rows in classes.values() if not problem.holds(rows) for i in rows}
        if sum(problem.weights[i] for i in suppressed) > int(problem.limit * total + 1e-9):
            continue
        loss = 0.0
        for i in range(len(problem.weights)):
            for column, level in zip(problem.columns, node, strict=True):
                cell = 1.0 if i in suppressed else column.loss[level][i]
                loss += problem.weights[i] * cell
        loss /= total * len(problem.columns)
        best = loss if best is None or loss < best else best
    return best


@pytest.mark.parametrize("few", [0, 512])
@given(problem=problems())
def test_the_search_finds_the_optimum(problem: Problem, few: int) -> None:
    expected, criteria = brute_force(problem), problem.criteria()
    before, _lattice._FEW_TUPLES = _lattice._FEW_TUPLES, few
    try:
        if expected is None:
            with pytest.raises(GuaranteeNotMet, match="cannot be reached"):
                search(problem.tuples(criteria), criteria, problem.limit)
            return
        found = search(problem.tuples(criteria), criteria, problem.limit)
    finally:
        _lattice._FEW_TUPLES = before
    assert found.loss == pytest.approx(expected)
    for number in set(found.classes[found.released].tolist()):
        rows = np.flatnonzero(found.classes == number).tolist()
        assert problem.holds(rows)
        assert found.released[rows].all()
    gone = np.flatnonzero(~found.released)
    assert int(problem.weights[gone].sum()) == found.suppressed_rows


@pytest.mark.parametrize("listed", [0, 1 << 20])
@given(problem=problems(), whole=st.booleans())
def test_a_large_lattice_s_node_is_good_and_its_bound_true(
    listed: int, problem: Problem, whole: bool
) -> None:
    criteria = problem.criteria()
    if whole:
        criteria = replace(criteria, whole=(AverageRisk(0.4),))
    tuples = problem.tuples(criteria)
    before = _lattice_large._LISTED_NODES, _lattice_large._GROUP_NODES
    # Two columns a group at most.
    _lattice_large._LISTED_NODES, _lattice_large._GROUP_NODES = listed, 8
    try:
        best = search(tuples, criteria, problem.limit)
    except GuaranteeNotMet:
        with pytest.raises(GuaranteeNotMet):
            search_large(tuples, criteria, problem.limit)
        return
    else:
        found = search_large(tuples, criteria, problem.limit)
    finally:
        _lattice_large._LISTED_NODES, _lattice_large._GROUP_NODES = before
    assert found.loss >= best.loss - 1e-9
    assert found.bound is None or found.bound <= best.loss + 1e-9
    assert found.bound is not None or found.loss == pytest.approx(best.loss)
    assert found.suppressed_rows <= int(problem.limit * problem.weights.sum() + 1e-9)
    for number in set(found.classes[found.released].tolist()):
        assert problem.holds(np.flatnonzero(found.classes == number).tolist())


@given(problem=problems(), trials=st.integers(1, 4))
def test_a_search_that_ends_early_says_what_is_left(problem: Problem, trials: int) -> None:
    criteria = problem.criteria()
    try:
        best = search(problem.tuples(criteria), criteria, problem.limit)
        found = search(problem.tuples(criteria), criteria, problem.limit, trials=trials)
    except GuaranteeNotMet:
        return
    assert (found.loss if found.bound is None else found.bound) <= best.loss + 1e-9


@given(problem=problems())
def test_what_a_class_loses_every_finer_one_loses_too(problem: Problem) -> None:
    """The bound that the search prunes by."""
    criteria = problem.criteria()
    tuples = problem.tuples(criteria)
    nodes = list(itertools.product(*(range(c.height + 1) for c in problem.columns)))
    suppressed, least = {}, {}
    for node in nodes:
        classes = tuples.group(node, True)
        lost = criteria.lost(classes, tuples.sensitive)
        suppressed[node] = float(classes.sizes[lost > 0].sum())
        least[node] = float(lost @ classes.sizes)
    for fine, coarse in itertools.product(nodes, nodes):
        if all(a <= b for a, b in zip(fine, coarse, strict=True)):
            assert suppressed[fine] >= least[coarse] - 1e-6


def test_the_error_says_which_limit_would_do() -> None:
    column = CodedColumn("c", [np.array([0, 1])], [np.zeros(2)])
    with pytest.raises(
        GuaranteeNotMet, match=r"at best 2 of 12 rows .* to 0\.1667.*'c' still has 2"
    ):
        search(Tuples([column], np.array([10.0, 2.0])), Criteria(5), 0.1)


def test_a_key_that_would_overflow_is_renumbered() -> None:
    chance = np.random.default_rng(7)
    many = [chance.integers(0, 100_000, 3_000) for _ in range(12)]
    columns = [CodedColumn(f"c{i}", [codes], [np.zeros(3_000)]) for i, codes in enumerate(many)]
    classes = Tuples(columns, np.ones(3_000)).group([0] * 12, False)
    rows = {tuple(int(codes[i]) for codes in many) for i in range(3_000)}
    assert len(rows) == len(np.unique(classes.of_tuple))
    columns[0].codes[0][1] = columns[0].codes[0][0]
    for codes in many[1:]:
        codes[1] = codes[0]
    again = Tuples(columns, np.ones(3_000)).group([0] * 12, True)
    assert again.of_tuple[0] == again.of_tuple[1]
