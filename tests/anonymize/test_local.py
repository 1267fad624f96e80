"""Local recoding: every class holds the models, every row is as its plan says, and little is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan
from airflow_mlsec.anonymize.recoding import _local
from airflow_mlsec.anonymize.recoding._lattice import search
from airflow_mlsec.anonymize.recoding._local import recode_locally
from airflow_mlsec.crypto import KeyKind, KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import Policy
from tests.anonymize.test_lattice import Problem, problems
from tests.anonymize.test_models import COLUMNS, patients


@pytest.mark.parametrize("listed", [0, 1 << 21])
@given(problem=problems())
def test_every_class_holds_and_no_row_is_lost_silently(listed: int, problem: Problem) -> None:
    criteria = problem.criteria()
    before, _local._MOST_LISTED = _local._MOST_LISTED, listed
    try:
        found = recode_locally(problem.tuples(criteria), criteria, problem.limit)
    except GuaranteeNotMet:
        return
    finally:
        _local._MOST_LISTED = before
    for number in set(found.classes[found.released].tolist()):
        rows = np.flatnonzero(found.classes == number).tolist()
        assert problem.holds(rows)
    gone = np.flatnonzero(~found.released)
    assert int(problem.weights[gone].sum()) == found.suppressed_rows
    assert found.suppressed_rows <= int(problem.limit * problem.weights.sum() + 1e-9)
    assert 0 <= found.loss <= 1 + 1e-9


@given(problem=problems())
def test_a_row_s_labels_alone_tell_its_step(problem: Problem) -> None:
    criteria = problem.criteria()
    try:
        found = recode_locally(problem.tuples(criteria), criteria, problem.limit)
    except GuaranteeNotMet:
        return

    def labels(row: int, levels: tuple[int, ...]) -> tuple[int, ...]:
        pairs = zip(problem.columns, levels, strict=True)
        return tuple(int(column.codes[level][row]) for column, level in pairs)

    members: dict[tuple[int, tuple[int, ...]], set[int]] = {}
    for row in range(len(problem.weights)):
        for place, step in enumerate(found.steps):
            mine = labels(row, step.levels)
            if mine in {labels(int(first), step.levels) for first in step.tuples}:
                members.setdefault((place, mine), set()).add(row)
                break
        else:
            assert found.classes[row] == -1
    expected = [set(np.flatnonzero(found.classes == n).tolist()) for n in set(found.classes) - {-1}]
    assert sorted(map(sorted, members.values())) == sorted(map(sorted, expected))


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Callable[..., Policy]:
    def run(**privacy: Any) -> Policy:
        return make_policy(COLUMNS, privacy={"k_anonymity": 5, "recoding": "local", **privacy})

    return run


def fitted(policy: Policy, table: pa.Table, keys: KeyRing) -> Plan:
    return fit_plan(policy, table.schema, lambda columns: table.select(columns).to_batches(), keys)


def quasi(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["age"], row["zip"]


def test_a_release_is_finer_than_by_global_recoding(
    policy: Callable[..., Policy], make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = patients(2_000)
    local = fitted(policy(), table, keys)
    whole = fitted(
        make_policy(COLUMNS, privacy={"k_anonymity": 5, "suppression_limit": 0.1}), table, keys
    )
    assert local.achieved["ncp"] < whole.achieved["ncp"]
    assert local.achieved["suppressed"] == 0
    out = local.apply(table, keys)
    assert out.num_rows == table.num_rows
    sizes = Counter(quasi(row) for row in out.to_pylist())
    assert min(sizes.values()) >= 5
    assert local.achieved["classes"] == len(sizes)
    for before, after in zip(table.to_pylist(), out.to_pylist(), strict=True):
        if after["age"] != "*":
            low, high = (
                map(float, after["age"].strip("[)").split(", "))
                if "[" in after["age"]
                else (before["age"], before["age"] + 1)
            )
            assert low <= before["age"] < high
        assert before["zip"].startswith(after["zip"].rstrip("*"))
        assert after["illness"] == before["illness"]


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
        one = again.apply(table.slice(place, 1), keys)
        assert one.to_pylist() == [whole.to_pylist()[place]]
    assert again.apply(table.slice(0, 0), keys).num_rows == 0
    # Whoever was not there when it was fitted gets the labels of a class that covers her, if any.
    stranger = pa.table({"age": [1_000], "zip": ["999"], "illness": ["flu"], "income": [1]})
    assert again.apply(stranger, keys).num_rows in (0, 1)


def test_models_hold_in_a_release(
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", patients(1_500)))
    privacy = {
        "l_diversity": {"illness": {"kind": "distinct", "l": 3}},
        "t_closeness": {"income": {"distance": "ordered", "t": 0.2}},
    }
    done = anonymize(policy(**privacy), source, open_dataset(str(tmp_path / "safe.parquet")), keys)
    assert all(finding.passed for finding in done.findings)
    classes: dict[Any, set[Any]] = {}
    for row in read(tmp_path / "safe.parquet").to_pylist():
        classes.setdefault(quasi(row), set()).add(row["illness"])
    assert min(len(found) for found in classes.values()) >= 3


def test_missing_values_and_few_rows(policy: Callable[..., Policy], keys: KeyRing) -> None:
    table = pa.table(
        {
            "age": pa.array([None] * 6 + [30] * 4, pa.int64()),
            "zip": pa.array(["100"] * 3 + [None] * 3 + ["101"] * 4),
            "illness": ["flu"] * 10,
            "income": [1] * 10,
        }
    )
    out = fitted(policy(), table, keys).apply(table, keys)
    assert out.num_rows == 10
    assert min(Counter(quasi(row) for row in out.to_pylist()).values()) >= 5
    with pytest.raises(GuaranteeNotMet, match="has 4 rows in all"):
        fitted(policy(), table.slice(0, 4), keys)
    empty = table.slice(0, 0)
    assert fitted(policy(), empty, keys).apply(empty, keys).num_rows == 0


def test_it_loses_no_more_than_the_best_single_node() -> None:
    rng = np.random.default_rng(3)
    from airflow_mlsec.anonymize.recoding._classes import CodedColumn, Tuples
    from airflow_mlsec.anonymize.recoding._criteria import Criteria

    for seed in range(5):
        leaves = [rng.integers(0, 16, 400) for _ in range(3)]
        columns = [
            CodedColumn(
                f"c{seed}",
                [np.unique(x // d, return_inverse=True)[1] for d in (1, 2, 4, 16)],
                [np.full(400, (d - 1) / 15) for d in (1, 2, 4, 16)],
            )
            for x in leaves
        ]
        tuples = Tuples(columns, np.ones(400))
        assert recode_locally(tuples, Criteria(5), 0).loss <= search(tuples, Criteria(5), 0).loss
