"""Models of the whole release and of the population, and estimates of how many people are unique."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.anonymize._uniqueness import pitman, population_uniques, zayatz
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.anonymize.recoding._criteria_whole import (
    AverageRisk,
    SampleUniqueness,
    smallest_class,
)
from airflow_mlsec.anonymize.recoding._lattice import search
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnMissing, GuaranteeNotMet, PolicyError, UsageError
from airflow_mlsec.policy import Policy
from tests.anonymize.test_lattice import Problem, problems
from tests.anonymize.test_models import COLUMNS, patients

RECODINGS = ["full-domain", "local", "multidimensional"]


@given(sizes=st.lists(st.integers(1, 6), max_size=12), limit=st.sampled_from([0.2, 0.3, 0.5, 1.0]))
def test_the_smallest_classes_are_those_that_have_to_go(sizes: list[int], limit: float) -> None:
    criteria = (AverageRisk(limit), SampleUniqueness(limit / 2))
    found = smallest_class(criteria, np.array(sizes, float))

    def fine(least: int) -> bool:
        kept = [size for size in sizes if size >= least]
        return not kept or (
            len(kept) / sum(kept) <= limit + 1e-9 and kept.count(1) / sum(kept) <= limit / 2 + 1e-9
        )

    assert fine(found)
    smaller = [size for size in set(sizes) if size < found]
    assert not any(fine(size) for size in smaller)


@given(problem=problems(), limit=st.sampled_from([0.2, 0.4]))
def test_the_search_is_exact_with_a_limit_on_the_average(problem: Problem, limit: float) -> None:
    criteria = Criteria(problem.k, (), (AverageRisk(limit),))
    best, total = None, int(problem.weights.sum())
    for node in itertools.product(*(range(c.height + 1) for c in problem.columns)):
        classes: dict[tuple[int, ...], list[int]] = {}
        for i in range(len(problem.weights)):
            key = tuple(int(c.codes[v][i]) for c, v in zip(problem.columns, node, strict=True))
            classes.setdefault(key, []).append(i)
        sizes = {key: int(problem.weights[rows].sum()) for key, rows in classes.items()}
        kept = sorted(size for size in sizes.values() if size >= problem.k)
        while kept and len(kept) / sum(kept) > limit + 1e-9:
            kept = [size for size in kept if size > kept[0]]
        least = kept[0] if kept else total + 1
        gone = {i for key, rows in classes.items() if sizes[key] < least for i in rows}
        if sum(problem.weights[i] for i in gone) > int(problem.limit * total + 1e-9):
            continue
        loss = sum(
            problem.weights[i] * (1.0 if i in gone else column.loss[level][i])
            for i in range(len(problem.weights))
            for column, level in zip(problem.columns, node, strict=True)
        ) / (total * len(problem.columns))
        best = loss if best is None or loss < best else best
    tuples = problem.tuples(Criteria(problem.k))
    if best is None:
        with pytest.raises(GuaranteeNotMet, match="average risk of at most"):
            search(tuples, criteria, problem.limit)
    else:
        assert search(tuples, criteria, problem.limit).loss == pytest.approx(best)


@pytest.fixture
def release(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> Callable[..., tuple[Any, pa.Table]]:
    """A release of every third of some patients."""
    everyone = patients(1_500)
    source = write(tmp_path / "p.parquet", everyone.take(pa.array(range(0, 1_500, 3))))
    population = write(tmp_path / "everyone.parquet", everyone)

    def run(**privacy: Any) -> tuple[Any, pa.Table]:
        people = population if {"k_map", "delta_presence"} & set(privacy) else None
        said = {"population": people} if people else {}
        policy = make_policy(COLUMNS, privacy={"suppression_limit": 0.2, **privacy, **said})
        done = anonymize(
            policy,
            open_dataset(source),
            open_dataset(str(tmp_path / "safe.parquet")),
            keys,
            population=open_dataset(people) if people else None,
        )
        assert all(finding.passed for finding in done.findings)
        return done, read(tmp_path / "safe.parquet")

    return run


def sizes_of(table: pa.Table) -> list[int]:
    return list(Counter((row["age"], row["zip"]) for row in table.to_pylist()).values())


@pytest.mark.parametrize("recoding", RECODINGS)
def test_risk_and_uniqueness_of_the_whole(release: Callable[..., Any], recoding: str) -> None:
    done, table = release(average_risk=0.1, recoding=recoding)
    sizes = sizes_of(table)
    assert len(sizes) / sum(sizes) <= 0.1
    assert done.plan.achieved["models"]["average risk of at most 0.1"] == pytest.approx(
        len(sizes) / sum(sizes), abs=1e-8
    )
    # Weaker than ten rows in every class.
    assert min(sizes) < 10
    _, table = release(sample_uniqueness=0.02, recoding=recoding)
    assert sizes_of(table).count(1) / table.num_rows <= 0.02
    done, table = release(population_uniqueness={"limit": 0.001, "size": 10_000}, recoding=recoding)
    estimate = population_uniques(np.array(sizes_of(table), float), 10_000)
    assert estimate <= 0.001
    assert any("of 10000 people" in finding.detail for finding in done.findings)


@pytest.mark.parametrize("recoding", RECODINGS)
def test_k_map_and_presence_count_the_population(
    release: Callable[..., Any], recoding: str
) -> None:
    done, table = release(k_map=5, recoding=recoding)
    # A class may have few rows, as long as enough people could be meant.
    assert min(sizes_of(table)) < 5
    [finding] = [f for f in done.findings if f.check.startswith("k-map")]
    assert int(finding.detail.rsplit(" ", 1)[1]) >= 5
    done, table = release(delta_presence=0.5, recoding=recoding)
    [(name, highest)] = done.plan.achieved["models"].items()
    assert name == "δ-presence of at most 0.5"
    assert highest <= 0.5
    assert table.num_rows >= 400


def test_disclosure_and_likeness_hold(release: Callable[..., Any]) -> None:
    whole = Counter(patients(1_500).column("illness").to_pylist()[::3])
    for privacy in (
        {"delta_disclosure": {"illness": 1.0}},
        {"beta_likeness": {"illness": {"beta": 0.5}}},
    ):
        _, table = release(**privacy, suppression_limit=0.5)
        classes: dict[Any, Counter[Any]] = {}
        for row in table.to_pylist():
            classes.setdefault((row["age"], row["zip"]), Counter())[row["illness"]] += 1
        for found in classes.values():
            for value, rows in whole.items():
                ratio = found[value] / found.total() / (rows / whole.total())
                if "delta_disclosure" in privacy:
                    assert 0.5 < ratio < 2
                else:
                    assert ratio - 1 <= 0.5 + 1e-9


def test_a_population_that_is_missing_or_lacks_a_column(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str]
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", patients(100)))
    policy = make_policy(COLUMNS, privacy={"k_map": 3, "population": "x"})
    target = open_dataset(str(tmp_path / "safe.parquet"))
    with pytest.raises(UsageError, match="needs the population"):
        anonymize(policy, source, target, keys)
    short = open_dataset(write(tmp_path / "short.parquet", patients(10).drop_columns(["zip"])))
    with pytest.raises(ColumnMissing, match="'zip'"):
        anonymize(policy, source, target, keys, population=short)
    assert not target.exists()
    with pytest.raises(PolicyError, match="need a `population`"):
        make_policy(COLUMNS, privacy={"k_map": 3})
    with pytest.raises(PolicyError, match="has neither"):
        make_policy(COLUMNS, privacy={"k_anonymity": 3, "population": "x"})


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_estimates_come_near_the_truth(share: float) -> None:
    """Of a population that is known."""
    rng = np.random.default_rng(4)
    number = 200_000
    people = rng.zipf(1.35, number) % 150_000
    truth = (np.bincount(people) == 1).sum() / number
    sample = np.bincount(rng.choice(people, int(number * share), replace=False))
    sizes = sample[sample > 0].astype(float)
    found = population_uniques(sizes, number)
    assert truth / 2 <= found <= truth * 2
    assert population_uniques(sizes, number, "zayatz") == zayatz(sizes, number)
    assert population_uniques(sizes, number, "pitman") == pitman(sizes, number)


def test_estimates_at_the_edges() -> None:
    assert population_uniques(np.array([2.0, 3.0]), 100) == 0
    assert population_uniques(np.array([1.0, 1.0, 2.0]), 4) == 0.5
    assert 0 < population_uniques(np.array([1.0]), 100) <= 1
    assert 0 <= population_uniques(np.ones(50), 1_000_000) <= 1
    assert population_uniques(np.zeros(0), 100) == 0
    with pytest.raises(UsageError, match="smaller than the 5 rows"):
        population_uniques(np.array([5.0]), 4)
