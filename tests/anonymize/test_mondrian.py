"""Multidimensional recoding: parts that hold, cells that cover, and a plan that leads every row home."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan
from airflow_mlsec.anonymize.recoding._mondrian import OrderedColumn, partition
from airflow_mlsec.crypto import KeyKind, KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnType, GuaranteeNotMet
from airflow_mlsec.policy import Policy
from tests.anonymize.test_lattice import Problem, problems
from tests.anonymize.test_models import COLUMNS, patients


def ordered(problem: Problem, interval: bool, fixed: bool) -> list[OrderedColumn]:
    columns = []
    for place, column in enumerate(problem.columns):
        codes = np.unique(column.codes[0], return_inverse=True)[1].astype(np.int64)
        width = int(codes.max(initial=0)) + 1
        columns.append(
            OrderedColumn(column.name, codes, width, width, interval, fixed and place == 0)
        )
    return columns


@given(problem=problems(), interval=st.booleans(), fixed=st.booleans())
def test_every_part_holds_and_none_can_be_cut_further(
    problem: Problem, interval: bool, fixed: bool
) -> None:
    criteria, columns = problem.criteria(), ordered(problem, interval, fixed)
    try:
        found = partition(columns, problem.tuples(criteria), criteria, problem.limit)
    except GuaranteeNotMet:
        return
    gone = np.flatnonzero(~found.released)
    assert int(problem.weights[gone].sum()) == found.suppressed_rows
    assert found.suppressed_rows <= int(problem.limit * problem.weights.sum() + 1e-9)
    lost = float(found.suppressed_rows * len(columns))
    for number in set(found.classes[found.released].tolist()):
        rows = np.flatnonzero(found.classes == number)
        assert problem.holds(rows.tolist())
        for column in columns:
            codes = sorted(set(column.codes[rows].tolist()))
            assert not column.fixed or len(codes) == 1
            if not column.fixed:
                for cut in codes[:-1]:
                    sides = rows[column.codes[rows] <= cut], rows[column.codes[rows] > cut]
                    assert not all(problem.holds(side.tolist()) for side in sides)
            more = codes[-1] - codes[0] if column.interval else len(codes) - 1
            lost += more / max(1, column.leaves - 1) * float(problem.weights[rows].sum())
    assert found.loss == pytest.approx(lost / (problem.weights.sum() * len(columns)))


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Callable[..., Policy]:
    def run(columns: str = COLUMNS, **privacy: Any) -> Policy:
        given = {"k_anonymity": 5, "recoding": "multidimensional", **privacy}
        return make_policy(columns, privacy=given)

    return run


def fitted(policy: Policy, table: pa.Table, keys: KeyRing) -> Plan:
    return fit_plan(policy, table.schema, lambda columns: table.select(columns).to_batches(), keys)


def members(cell: str | None) -> list[str | None]:
    """What a set shows."""
    if cell is None or not cell.startswith("{"):
        return [cell]
    return [None if text == "null" else text for text in cell.strip("{}").split(", ")]


def test_a_release_covers_every_row_and_loses_less_than_local_recoding(
    policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = patients(2_000)
    plan = fitted(policy(), table, keys)
    out = plan.apply(table, keys)
    assert out.num_rows == 2_000
    assert plan.achieved["ncp"] < fitted(policy(recoding="local"), table, keys).achieved["ncp"]
    sizes = Counter((row["age"], row["zip"]) for row in out.to_pylist())
    assert min(sizes.values()) == plan.achieved["k_anonymity"] >= 5
    assert plan.achieved["classes"] == len(sizes)
    lost = 0.0
    ages, zips = (len(set(table.column(name).to_pylist())) for name in ("age", "zip"))
    known = sorted(set(table.column("age").to_pylist()))
    for before, after in zip(table.to_pylist(), out.to_pylist(), strict=True):
        low, high = json.loads(after["age"]) if "[" in after["age"] else [int(after["age"])] * 2
        assert low <= before["age"] <= high
        assert before["zip"] in members(after["zip"])
        assert after["illness"] == before["illness"]
        lost += (known.index(high) - known.index(low)) / (ages - 1)
        lost += (len(members(after["zip"])) - 1) / (zips - 1)
    assert plan.achieved["ncp"] == pytest.approx(lost / 4_000)


def test_the_plan_gives_the_same_again_row_by_row(
    policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    table = patients(800)
    plan = fitted(policy(), table, keys)
    plan.save(tmp_path / "plan.json", keys.ensure("signing", KeyKind.SIGNING))
    again = Plan.load(tmp_path / "plan.json", keys.verification_keys())
    whole = again.apply(table, keys)
    assert whole.equals(plan.apply(table, keys))
    for place in (0, 399, 799):
        assert again.apply(table.slice(place, 1), keys).to_pylist() == [whole.to_pylist()[place]]
    assert again.apply(table.slice(0, 0), keys).num_rows == 0
    # Strangers: one whose values a class has is released with it, others are not.
    like = table.slice(5, 1).set_column(2, "illness", pa.array(["cold"]))
    assert again.apply(like, keys).column("zip").to_pylist() == [whole.column("zip")[5].as_py()]
    for age, code in ((200, "100"), (30, "999"), (None, "100"), (30, None)):
        stranger = pa.table(
            {"age": pa.array([age], pa.int64()), "zip": [code], "illness": ["flu"], "income": [1]}
        )
        assert again.apply(stranger, keys).num_rows == 0


def test_missing_dates_fixed_and_odd_values(policy: Callable[..., Policy], keys: KeyRing) -> None:
    odd = ["a, b", "{c}", "[d", "null", "*", "", None, 'say "x"', " e"]
    rows = 900
    table = pa.table(
        {
            "born": [None if i % 11 == 0 else date(1950, 1, 1) + timedelta(i % 300) for i in range(rows)],
            "odd": [odd[i % 9] for i in range(rows)],
            "sex": ["FM"[i % 2] for i in range(rows)],
            "score": [None if i % 7 == 0 else float("nan") if i % 7 == 1 else i % 50 / 4 for i in range(rows)],
        }
    )  # fmt: skip
    made = policy(
        """
        born: {role: quasi-identifying, hierarchy: {kind: date}}
        odd: {role: quasi-identifying, hierarchy: {kind: suppress}}
        sex: {role: quasi-identifying, transform: {method: mask, keep_first: 1}}
        score: {role: quasi-identifying, hierarchy: {kind: interval, widths: [1]}}
        """
    )
    plan = fitted(made, table, keys)
    out = Plan.from_json(json.loads(json.dumps(plan.to_json()))).apply(table, keys)
    assert out.equals(plan.apply(table, keys))
    assert out.num_rows == rows
    assert min(Counter(map(str, out.to_pylist())).values()) >= 5
    assert set(out.column("sex").to_pylist()) == {"*"}
    for before, after in zip(table.to_pylist(), out.to_pylist(), strict=True):
        born = after["born"]
        if before["born"] is None:
            assert born in (None, "*") or born.startswith("{null, ")
        elif born != "*":
            bounds = born.removeprefix("{null, ").rstrip("}").strip("[]").split(", ")
            assert bounds[0] <= str(before["born"]) <= bounds[-1]
    # Any two different sets have different labels.
    [column] = [c for c in plan.classes.regions.columns if c.name == "odd"]  # type: ignore[union-attr]
    assert len(set(column.labels)) == len(column.labels)


def test_the_rows_of_a_fixed_value_that_are_too_few_are_suppressed(
    policy: Callable[..., Policy], keys: KeyRing
) -> None:
    columns = """
    sex: {role: quasi-identifying, transform: {method: mask, keep_first: 1, keep_last: 1}}
    age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5]}}
    """
    table = pa.table({"sex": ["f.x"] * 20 + ["m.y"] * 3, "age": [*range(20), 1, 2, 3]})
    with pytest.raises(GuaranteeNotMet, match=r"`suppression_limit` to 0\.1304"):
        fitted(policy(columns), table, keys)
    out = fitted(policy(columns, suppression_limit=0.2), table, keys).apply(table, keys)
    assert Counter(out.column("sex").to_pylist()) == {"f*x": 20}
    unknown = pa.table({"sex": ["z.z"], "age": [1]})
    assert (
        fitted(policy(columns, suppression_limit=0.2), table, keys).apply(unknown, keys).num_rows
        == 0
    )


def test_what_has_no_order_is_refused_and_few_rows_too(
    policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = patients(50)
    texts = table.set_column(0, "age", pa.array([str(i) for i in range(50)]))
    with pytest.raises(ColumnType, match="column 'age' has type string"):
        fitted(policy(), texts, keys)
    with pytest.raises(GuaranteeNotMet, match="has 4 rows in all"):
        fitted(policy(), table.slice(0, 4), keys)
    assert fitted(policy(), table.slice(0, 0), keys).apply(table.slice(0, 0), keys).num_rows == 0


def test_models_hold_in_a_published_release(
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", patients(1_500)))
    made = policy(
        l_diversity={"illness": {"kind": "distinct", "l": 3}},
        t_closeness={"income": {"distance": "ordered", "t": 0.2}},
    )
    done = anonymize(made, source, open_dataset(str(tmp_path / "safe.parquet")), keys)
    assert all(finding.passed for finding in done.findings)
    assert done.plan.achieved["classes"] > 10
    found: dict[Any, set[Any]] = {}
    for row in read(tmp_path / "safe.parquet").to_pylist():
        found.setdefault((row["age"], row["zip"]), set()).add(row["illness"])
    assert min(map(len, found.values())) >= 3


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_rows_that_were_never_seen_may_be_refused(
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    recoding: str,
) -> None:
    table = patients(400)
    made = policy(recoding=recoding, unseen="refuse")
    plan = Plan.from_json(json.loads(json.dumps(fitted(made, table, keys).to_json())))
    # The youngest with the first code may be alone in what would be their class.
    assert plan.apply(table, keys).num_rows == 400
    stranger = pa.table(
        {"age": pa.array([None], pa.int64()), "zip": ["999"], "illness": ["flu"], "income": [1]}
    )
    both = pa.concat_tables([table, stranger])
    with pytest.raises(GuaranteeNotMet, match=r"1 of 401 rows .*privacy\.unseen"):
        plan.apply(both, keys)
    source = open_dataset(write(tmp_path / "p.parquet", both))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    with pytest.raises(GuaranteeNotMet, match="Nothing was published"):
        anonymize(made, source, target, keys, plan=plan)
    assert not target.exists()
    kind = fitted(policy(recoding=recoding), table, keys)
    assert kind.apply(both, keys).num_rows == 400
