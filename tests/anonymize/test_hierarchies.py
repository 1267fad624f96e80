from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec import hierarchies as h
from airflow_mlsec.anonymize import fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnType, GuaranteeNotMet, PlanError, PolicyError
from airflow_mlsec.hierarchies import fit_quantiles
from airflow_mlsec.policy import Policy

DATES = h.Dates(("day", "month", "quarter", "year", "decade", "century"))


def labels(levels: h.Levels, values: list[object], level: int, kind: object = None) -> list[object]:
    return h.label(levels, pa.array(values, kind), level, "c").to_pylist()


@pytest.mark.parametrize(
    ("level", "expected"),
    enumerate(
        ["1987-05-03", "1987-05-03", "1987-05", "1987-Q2", "1987", "1980s", "1900-1999", "*"]
    ),
)
def test_dates(level: int, expected: str) -> None:
    assert labels(DATES, [date(1987, 5, 3)], level) == [expected]
    if level > 0:
        assert labels(DATES, [datetime(1987, 5, 3, 23, 59)], level) == [expected]


@pytest.mark.parametrize(
    ("value", "level", "expected"),
    [
        (0, 1, "[0, 5)"),
        (4.999, 1, "[0, 5)"),
        (5, 1, "[5, 10)"),
        (-1, 1, "[-5, 0)"),
        (-1, 2, "[-10, 0)"),
        (2**53, 2, "[9007199254740990, 9007199254741000)"),
        (float("inf"), 1, None),
        (float("nan"), 1, None),
        (None, 1, None),
        (None, 3, "*"),
    ],
)
def test_intervals(value: float | None, level: int, expected: str | None) -> None:
    assert labels(h.Intervals((5, 10), 0), [value], level, pa.float64()) == [expected]


def test_intervals_count_from_their_origin() -> None:
    assert labels(h.Intervals((0.5,), 0.25), [1.0], 1) == ["[0.75, 1.25)"]


def test_prefixes() -> None:
    levels = h.Prefixes((4, 2))
    assert labels(levels, ["12345", "1", "", "Zoë12", None], 1) == ["1234*", "1", "", "Zoë1*", None]
    assert labels(levels, ["12345", "1", "", None], 2) == ["12***", "1", "", None]


def test_interval_edges_are_exact() -> None:
    levels = h.Intervals((0.1, 0.3), 0)
    assert labels(levels, [0.25, 0.3, 0.7], 1) == ["[0.2, 0.3)", "[0.3, 0.4)", "[0.7, 0.8)"]
    assert labels(levels, [0.25, 0.3, 0.7], 2) == ["[0, 0.3)", "[0.3, 0.6)", "[0.6, 0.9)"]
    assert labels(h.Intervals((0.01,), 0), [1e308], 1) == [None]


def test_times_before_1970_belong_to_their_own_year() -> None:
    assert labels(h.Dates(("year",)), [datetime(1969, 12, 31, 23, 59, 59, 500_000)], 1) == ["1969"]


LEVELS = [
    pytest.param(
        h.Intervals((0.1, 0.3, 0.6), 0), st.integers(-50, 50).map(lambda i: i / 10), id="tenths"
    ),
    pytest.param(DATES, st.dates(), id="dates"),
    pytest.param(h.Intervals((5, 10, 40), 3), st.integers(-(10**6), 10**6), id="integers"),
    pytest.param(h.Intervals((0.5, 2, 8), 0), st.floats(-1e6, 1e6), id="floats"),
    pytest.param(h.Prefixes((5, 3, 1)), st.text(max_size=8), id="prefixes"),
    pytest.param(h.Suppress(), st.text(max_size=3), id="suppress"),
]


@pytest.mark.parametrize(("levels", "strategy"), LEVELS)
@given(data=st.data())
def test_a_coarser_level_never_splits_a_finer_one(
    levels: h.Levels, strategy: st.SearchStrategy[object], data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=30))
    for level in range(levels.height):
        fine, coarse = labels(levels, values, level), labels(levels, values, level + 1)
        parents: dict[object, object] = {}
        for child, parent in zip(fine, coarse, strict=True):
            assert parents.setdefault(child, parent) == parent
    assert set(labels(levels, values, levels.height)) == {"*"}


@pytest.mark.parametrize(("levels", "strategy"), LEVELS)
def test_a_hierarchy_survives_json(levels: h.Levels, strategy: object) -> None:
    del strategy
    assert h.from_json(levels.to_json()) == levels


def test_a_hierarchy_file(tmp_path: Path) -> None:
    path = tmp_path / "edu.csv"
    path.write_text("primary;low;*\nbachelor;high;*\nmaster;high;*\n")
    table = h.read_table(path)
    assert table.height == 2
    assert labels(table, ["master", None, "primary"], 1) == ["high", None, "low"]
    assert h.from_json(table.to_json()) == table
    path.write_text("1,odd\n2,even\n3,odd\n")
    assert labels(h.read_table(path), [3, 2], 1) == ["odd", "even"], "numbers match by their text"
    assert h.read_table(path).height == 2, "the top is added where the file has none"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a;x;*\nb;y\n", r"edu\.csv:2: 2 columns where row 1 has 3"),
        ("a;x;*\na;y;*\n", r"edu\.csv:2: this value is already in an earlier row"),
        ("a;x;p\nb;x;q\n", r"edu\.csv:2: column 2's label has another parent"),
        ("a\nb\n", r"edu\.csv:1: a hierarchy row"),
        ("", r"edu\.csv:1: a hierarchy row"),
    ],
)
def test_a_file_that_is_no_hierarchy_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "edu.csv").write_text(content)
    with pytest.raises(PolicyError, match=says):
        h.read_table(tmp_path / "edu.csv")


def test_a_value_that_the_file_misses_is_counted_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "edu.csv").write_text("a;*\nb;*\n")
    levels = h.Table(("a", "b"), (("x", "x"),), "edu.csv")
    with pytest.raises(GuaranteeNotMet) as error:
        labels(levels, ["a", "geheim", None], 1)
    assert "1 values are not among the 2 leaves of hierarchy edu.csv" in str(error.value)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("levels", "values", "needs"),
    [
        (DATES, ["1987-05-03"], "a date or timestamp"),
        (h.Intervals((5,), 0), ["5"], "a number"),
        (h.Intervals((5,), 0), [True], "a number"),
        (h.Prefixes((5,)), [[1]], "text"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(
    levels: h.Levels, values: list[object], needs: str
) -> None:
    with pytest.raises(ColumnType, match=f"column 'c' has type .* needs {needs}"):
        labels(levels, values, 1)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(PlanError, match="unknown kind 'fractal'"):
        h.from_json({"kind": "fractal"})


@given(
    values=st.lists(st.integers(-50, 50) | st.floats(-1e6, 1e6), min_size=1, max_size=60),
    bins=st.integers(2, 16),
)
def test_automatic_intervals_cover_nest_and_are_even(values: list[float], bins: int) -> None:
    numbers = [float(v) for v in values]
    array = pa.array(numbers)
    levels = fit_quantiles(array, np.ones(len(numbers)), bins, "x")
    assert len(levels.edges) < bins
    before: list[str] = [str(v) for v in numbers]
    for level in range(1, levels.height):
        labels = levels.label(array, level, "x").to_pylist()
        for value, label in zip(numbers, labels, strict=True):
            if label.startswith("< "):
                assert value < float(label[2:])
            elif label.startswith(">= "):
                assert value >= float(label[3:])
            elif label != "*":
                low, high = map(float, label.strip("[)").split(", "))
                assert low <= value < high
        # Each level is a function of the one below.
        assert len(set(zip(before, labels, strict=True))) == len(set(before))
        before = labels
    assert len(set(before)) <= 2
    again = h.from_json(json.loads(json.dumps(levels.to_json())))
    assert again == levels


def test_an_automatic_hierarchy_is_even_and_needs_no_numbers_of_its_own(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    rng = np.random.default_rng(5)
    table = pa.table({"income": [*rng.lognormal(10, 1, 2_000).tolist(), None, float("nan")]})
    policy = make_policy(
        "income: {role: quasi-identifying, hierarchy: {kind: automatic, bins: 8}}",
        privacy={"k_anonymity": 200, "suppression_limit": 0.01},
    )
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    sizes = Counter(plan.apply(table, keys).column("income").to_pylist())
    assert len(sizes) == 8
    assert all(240 <= size <= 260 for size in sizes.values())
    # Whoever has more than anybody had is not told from the richest.
    assert plan.apply(pa.table({"income": [1e12]}), keys).num_rows == 1
    with pytest.raises(ColumnType, match="automatic hierarchy"):
        text = pa.table({"income": ["a"] * 300})
        fit_plan(policy, text.schema, lambda c: text.select(c).to_batches(), keys)
    with pytest.raises(PolicyError, match="fixed level needs intervals"):
        make_policy(
            "x: {role: sensitive, transform: {method: generalize, hierarchy: {kind: automatic}}}"
        )
