"""l-diversity and t-closeness from policy to published release, and a checker that catches what
does not hold them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan, anonymize, verify_release
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnType, GuaranteeNotMet, PolicyError
from airflow_mlsec.policy import Policy

COLUMNS = """
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5, 10, 20, 40]}}
zip: {role: quasi-identifying, hierarchy: {kind: prefix}}
illness: {role: sensitive}
income: {role: sensitive}
"""
ILLNESSES = ["flu", "cold", "asthma", "cancer", None]
TREE = """\
flu;infection;illness;*
cold;infection;illness;*
asthma;chronic;illness;*
cancer;chronic;illness;*
"""


def patients(rows: int = 600) -> pa.Table:
    chance = random.Random(11)
    ages = [chance.randrange(18, 90) for _ in range(rows)]
    return pa.table(
        {
            "age": ages,
            "zip": [f"{chance.randrange(100, 130)}" for _ in range(rows)],
            # The old are ill otherwise than the young.
            "illness": [ILLNESSES[min(4, int(abs(chance.gauss(age / 25, 1.2))))] for age in ages],
            "income": [20_000 + 500 * int(abs(chance.gauss(age, 20))) for age in ages],
        }
    )


@pytest.fixture
def release(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> Callable[..., tuple[Any, pa.Table, Policy]]:
    source = write(tmp_path / "patients.parquet", patients())
    (tmp_path / "tree.csv").write_text(TREE)

    def run(limit: float = 0.1, **privacy: Any) -> tuple[Any, pa.Table, Policy]:
        given = {"k_anonymity": 4, "suppression_limit": limit, **privacy}
        policy = make_policy(COLUMNS, privacy=given)
        target = tmp_path / "safe.parquet"
        done = anonymize(policy, open_dataset(source), open_dataset(str(target)), keys)
        return done, read(target), policy

    return run


def classes(table: pa.Table, column: str) -> list[Counter[Any]]:
    found: dict[tuple[Any, Any], Counter[Any]] = {}
    for row in table.to_pylist():
        found.setdefault((row["age"], row["zip"]), Counter())[row[column]] += 1
    return list(found.values())


def shares(found: Counter[Any], order: list[Any]) -> list[float]:
    return [found[value] / found.total() for value in order]


def test_distinct_diversity_holds(release: Callable[..., Any]) -> None:
    done, table, _ = release(l_diversity={"illness": {"kind": "distinct", "l": 3}})
    assert min(len(found) for found in classes(table, "illness")) >= 3
    [(name, least)] = done.plan.achieved["models"].items()
    assert name == "distinct l-diversity of 'illness' with l=3"
    assert least == min(len(found) for found in classes(table, "illness"))
    assert any("fewest values" in finding.detail for finding in done.findings)


def test_entropy_and_recursive_diversity_hold(release: Callable[..., Any]) -> None:
    _, table, _ = release(l_diversity={"illness": {"kind": "entropy", "l": 2.5}})
    for found in classes(table, "illness"):
        assert -sum(p * math.log(p) for p in shares(found, list(found))) >= math.log(2.5) - 1e-9
    _, table, _ = release(l_diversity={"illness": {"kind": "recursive", "l": 3, "c": 2}})
    for found in classes(table, "illness"):
        rows = sorted(found.values(), reverse=True)
        assert rows[0] < 2 * sum(rows[2:])


def test_equal_and_ordered_closeness_hold(release: Callable[..., Any]) -> None:
    whole = Counter(patients().column("illness").to_pylist())
    done, table, policy = release(t_closeness={"illness": {"distance": "equal", "t": 0.25}})
    expected = shares(whole, ILLNESSES)
    for found in classes(table, "illness"):
        pairs = zip(shares(found, ILLNESSES), expected, strict=True)
        assert sum(abs(p - q) for p, q in pairs) / 2 <= 0.25 + 1e-9
    assert done.plan.achieved["models"]["t-closeness of 'illness' with t=0.25 (equal)"] <= 0.25
    # Without the rows that were suppressed it is what a reader measures that counts.
    released = shares(Counter(table.column("illness").to_pylist()), ILLNESSES)
    farthest = max(
        sum(abs(p - q) for p, q in zip(shares(found, ILLNESSES), released, strict=True)) / 2
        for found in classes(table, "illness")
    )
    again = verify_release(policy, table.schema, table.to_batches())
    [closeness] = [f for f in again if f.check.startswith("t-closeness")]
    assert closeness.passed == (farthest <= 0.25 + 1e-9)
    assert f"{farthest:.4f} from the released rows" in closeness.detail
    assert any(f"{farthest:.4f} from the released rows" in f.detail for f in done.findings)

    incomes = Counter(patients().column("income").to_pylist())
    order = sorted(incomes)
    _, table, _ = release(t_closeness={"income": {"distance": "ordered", "t": 0.15}})
    for found in classes(table, "income"):
        ahead = distance = 0.0
        for p, q in zip(shares(found, order), shares(incomes, order), strict=True):
            ahead += p - q
            distance += abs(ahead)
        assert distance / (len(order) - 1) <= 0.15 + 1e-9


def test_hierarchical_closeness_holds(release: Callable[..., Any]) -> None:
    said = {"distance": "hierarchical", "t": 0.2, "hierarchy": {"kind": "file", "path": "tree.csv"}}
    done, table, _ = release(t_closeness={"illness": said})
    assert table.num_rows >= 540
    [(name, worst)] = done.plan.achieved["models"].items()
    assert "hierarchical" in name
    assert 0 < worst <= 0.2
    # The checker works it out in another way and comes to the same.
    [finding] = [f for f in done.findings if "hierarchical" in f.check]
    assert f"{worst:.4f}" in finding.detail


def test_several_models_at_once(release: Callable[..., Any]) -> None:
    done, table, _ = release(
        limit=0.3,
        l_diversity={
            "illness": {"kind": "distinct", "l": 3},
            "income": {"kind": "entropy", "l": 3},
        },
        t_closeness={"illness": {"distance": "equal", "t": 0.3}},
    )
    assert len(done.plan.achieved["models"]) == 3
    assert min(len(found) for found in classes(table, "income")) >= 3
    assert len([f for f in done.findings if "diversity" in f.check or "closeness" in f.check]) == 3
    assert Plan.from_json(done.plan.to_json()).digest == done.plan.digest


def test_a_model_alone_needs_no_k(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str]
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", patients()))
    privacy = {"l_diversity": {"illness": {"kind": "distinct", "l": 2}}, "suppression_limit": 0.2}
    policy = make_policy(COLUMNS, privacy=privacy)
    done = anonymize(policy, source, open_dataset(str(tmp_path / "out.parquet")), keys)
    assert done.plan.achieved["k_anonymity"] >= 2


def test_what_cannot_be_reached_is_said(release: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(GuaranteeNotMet, match=r"distinct l-diversity of 'illness' with l=6 cannot"):
        release(l_diversity={"illness": {"kind": "distinct", "l": 6}})
    assert not (tmp_path / "safe.parquet").exists()
    with pytest.raises(ColumnType, match="values have an order"):
        release(t_closeness={"illness": {"distance": "ordered", "t": 0.2}})


@pytest.mark.parametrize(
    ("privacy", "says"),
    [
        ({"l_diversity": {"illness": {"kind": "recursive", "l": 2}}}, "needs `c`"),
        ({"l_diversity": {"illness": {"kind": "distinct", "l": 2.5}}}, "whole number"),
        ({"l_diversity": {"age": {"kind": "distinct", "l": 2}}}, "not a sensitive column"),
        (
            {"t_closeness": {"illness": {"distance": "hierarchical", "t": 0.2}}},
            "needs a `hierarchy`",
        ),
        ({"t_closeness": {"illness": {"distance": "equal", "t": 0}}}, "greater than 0"),
    ],
)
def test_models_that_make_no_sense_are_refused(
    make_policy: Callable[..., Policy], privacy: dict[str, Any], says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        make_policy(COLUMNS, privacy=privacy)


@pytest.mark.parametrize(
    ("privacy", "check"),
    [
        ({"l_diversity": {"illness": {"kind": "distinct", "l": 3}}}, "distinct"),
        ({"l_diversity": {"illness": {"kind": "entropy", "l": 3}}}, "entropy"),
        ({"l_diversity": {"illness": {"kind": "recursive", "l": 2, "c": 1}}}, "recursive"),
        ({"t_closeness": {"illness": {"distance": "equal", "t": 0.1}}}, "equal"),
        ({"t_closeness": {"income": {"distance": "ordered", "t": 0.1}}}, "ordered"),
        ({"delta_disclosure": {"illness": 1.0}}, "δ-disclosure"),
        ({"beta_likeness": {"illness": {"beta": 0.5}}}, "enhanced β-likeness"),
        ({"average_risk": 0.05}, "average risk"),
        (
            {"k_map": 3, "population": "file:///people.parquet"}, "k-map",
        ),
        (
            {"t_closeness": {"illness": {"distance": "hierarchical", "t": 0.1,
             "hierarchy": {"kind": "file", "path": "tree.csv"}}}}, "hierarchical",
        ),
    ],
)  # fmt: skip
def test_the_checker_catches_what_does_not_hold(
    make_policy: Callable[..., Policy], privacy: dict[str, Any], check: str, tmp_path: Path
) -> None:
    (tmp_path / "tree.csv").write_text(TREE)
    rows = [("[0, 40)", "1**", "flu", 1)] * 9 + [("[0, 40)", "1**", "cold", 2)]
    rows += [("[40, 80)", "1**", illness, n) for n, illness in enumerate(ILLNESSES[:4] * 3)]
    table = pa.table(
        dict(zip(("age", "zip", "illness", "income"), zip(*rows, strict=True), strict=True))
    )
    policy = make_policy(COLUMNS, privacy={"k_anonymity": 4, **privacy})
    failed = [
        f.check for f in verify_release(policy, table.schema, table.to_batches()) if not f.passed
    ]
    assert len(failed) == 1, failed
    assert check in failed[0]
