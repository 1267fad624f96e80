"""Numbers and dates that stay numbers and dates."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import erf, exp
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnType, PolicyError
from airflow_mlsec.policy import Policy
from airflow_mlsec.transforms._numeric import fit_groups, round_to, top_bottom

PERSON = "who: {role: identifying, transform: {method: pseudonymize, domain: p}}\n"


@pytest.fixture
def plan_of(make_policy: Callable[..., Policy], keys: KeyRing) -> Callable[..., Plan]:
    def run(columns: str, table: pa.Table, **more: Any) -> Plan:
        policy = make_policy(columns, **more)
        return fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)

    return run


def test_dates_of_one_person_move_together(plan_of: Callable[..., Plan], keys: KeyRing) -> None:
    people = [f"p{i % 200}" for i in range(1_000)]
    days = [date(2020, 1, 1) + timedelta(i % 365) for i in range(1_000)]
    times = [datetime(2021, 5, 1, i % 24, 30) for i in range(1_000)]
    table = pa.table({"who": [*people, None], "day": [*days, days[0]], "at": [*times, times[0]]})
    plan = plan_of(
        PERSON
        + "day: {role: sensitive, transform: {method: shift_date, days: 90}}\n"
        + "at: {role: sensitive, transform: {method: shift_date, days: 90}}",
        table,
        subject={"kind": "person", "key": "who"},
    )
    out = plan.apply(table, keys)
    assert out.schema.field("day").type == pa.date32()
    shifts: dict[str, set[timedelta]] = {}
    for who, day, at, row in zip(people, days, times, out.to_pylist(), strict=False):
        shifts.setdefault(who, set()).update({row["day"] - day, row["at"] - at})
    assert all(len(found) == 1 for found in shifts.values())
    moved = [next(iter(found)).days for found in shifts.values()]
    assert 0 not in moved
    assert max(map(abs, moved)) <= 90
    assert len(set(moved)) > 80
    # Nobody's dates could not be told from what they were.
    assert out.to_pylist()[-1]["day"] is None
    assert out.equals(plan.apply(table, keys))
    assert plan.apply(table.slice(7, 1), keys).to_pylist() == [out.to_pylist()[7]]


@pytest.mark.parametrize(
    ("distribution", "deviation"),
    [("normal", 10.0), ("laplace", 10 * 2**0.5), ("uniform", 10 / 3**0.5)],
)
def test_noise_is_of_its_distribution_and_stays(
    plan_of: Callable[..., Plan], keys: KeyRing, distribution: str, deviation: float
) -> None:
    number = 20_000
    table = pa.table({"who": [f"p{i}" for i in range(number)], "age": [50] * number})
    plan = plan_of(
        PERSON
        + f"age: {{role: sensitive, transform: {{method: noise, distribution: {distribution}, scale: 10}}}}",
        table,
        subject={"kind": "person", "key": "who"},
    )
    out = plan.apply(table, keys)
    assert out.schema.field("age").type == pa.int64()
    noise = out.column("age").to_numpy() - 50.0
    assert abs(noise.mean()) < 5 * deviation / number**0.5
    assert noise.std() == pytest.approx(deviation, rel=0.05)
    # Whole numbers get whole noise: a noise of at most 9 was one of less than 9.5 before.
    expected = {"normal": erf(0.95 / 2**0.5), "laplace": 1 - exp(-0.95), "uniform": 0.95}
    share, truth = (np.abs(noise) <= 9).mean(), expected[distribution]
    assert share == pytest.approx(truth, abs=4.5 * (truth * (1 - truth) / number) ** 0.5)
    if distribution == "uniform":
        assert np.abs(noise).max() <= 10
    # A second release of the same people has the same noise: nothing averages out.
    assert plan.apply(table.slice(0, 100), keys).equals(out.slice(0, 100))


def test_noise_keeps_limits_nulls_and_fractions(
    plan_of: Callable[..., Plan], keys: KeyRing
) -> None:
    table = pa.table({"x": [0.5, None, 2.25, 1e6], "who": list("abcd")})
    plan = plan_of(
        PERSON
        + "x: {role: sensitive, transform: {method: noise, scale: 100, minimum: 0, maximum: 5, by: who}}",
        table,
    )
    out = plan.apply(table, keys).column("x").to_pylist()
    assert out[1] is None
    assert all(0 <= x <= 5 for x in out if x is not None)
    assert out[3] == 5


@pytest.mark.parametrize(
    ("values", "bottom", "top", "expected"),
    [
        pytest.param([1, 50, 99, None], 18, 90, [18, 50, 90, None], id="both"),
        pytest.param([1, 50], None, 40, [1, 40], id="top"),
        pytest.param([1.5, 50.25], 2.5, None, [2.5, 50.25], id="bottom-of-fractions"),
        pytest.param([1, 50], 2.5, None, [2.5, 50.0], id="a-fraction-as-limit"),
    ],
)
def test_top_and_bottom_coding(
    values: list[Any], bottom: float | None, top: float | None, expected: list[Any]
) -> None:
    out = top_bottom(pa.array(values), "x", bottom, top)
    assert out.to_pylist() == expected
    assert out.type == pa.array(expected).type


@pytest.mark.parametrize(
    ("values", "to", "expected"),
    [
        pytest.param([52.51764, -0.12345], 0.01, [52.52, -0.12], id="coordinates"),
        pytest.param([1_234, 1_250, None], 100, [1_200, 1_200, None], id="whole"),
        pytest.param([0.3, 0.1], 0.25, [0.25, 0.0], id="quarters"),
        pytest.param([7, 8], 2.5, [7.5, 7.5], id="whole-to-fractions"),
    ],
)
def test_rounding(values: list[Any], to: float, expected: list[Any]) -> None:
    assert round_to(pa.array(values), "x", to).to_pylist() == expected


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=11),
    st.integers(2, 4),
    st.integers(0, 1_000_000),
)
def test_groups_are_those_that_change_values_least(values: list[int], k: int, away: int) -> None:
    values = [value + away for value in values]
    counted = sorted(Counter(values).items())
    known = [v for v, _ in counted]
    groups = fit_groups(pa.array(known), np.array([c for _, c in counted]), "x", k)

    def cost(cuts: tuple[int, ...]) -> float | None:
        total = 0.0
        for start, end in itertools.pairwise((0, *cuts, len(counted))):
            rows = [v for v, c in counted[start:end] for _ in range(c)]
            if len(rows) < k:
                return None
            mean = sum(rows) / len(rows)
            total += sum((v - mean) ** 2 for v in rows)
        return total

    if len(values) < k:
        assert not groups.means
        return
    best = min(
        found
        for size in range(len(counted))
        for cuts in itertools.combinations(range(1, len(counted)), size)
        if (found := cost(cuts)) is not None
    )
    cuts = tuple(np.searchsorted(known, groups.borders).tolist())
    assert cost(cuts) == pytest.approx(best, abs=1e-6)


def test_microaggregation_keeps_the_mean_and_hides_single_values(
    plan_of: Callable[..., Plan], keys: KeyRing
) -> None:
    rng = np.random.default_rng(2)
    income = [*rng.lognormal(10, 1, 500).tolist(), None, float("nan")]
    table = pa.table({"income": income})
    plan = plan_of("income: {role: sensitive, transform: {method: microaggregate, k: 5}}", table)
    again = Plan.from_json(plan.to_json())
    out = again.apply(table, keys).column("income").to_pylist()
    assert out[-2:] == [None, None]
    assert min(Counter(out[:-2]).values()) >= 5
    assert np.mean(out[:-2]) == pytest.approx(np.mean(income[:-2]))
    assert np.corrcoef(out[:-2], income[:-2])[0, 1] > 0.98
    # The mean of too few rows would tell too much.
    few = pa.table({"income": [1.0, 2.0]})
    plan = plan_of("income: {role: sensitive, transform: {method: microaggregate, k: 5}}", few)
    assert plan.apply(few, keys).column("income").to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("d: {role: sensitive, transform: {method: shift_date}}", "needs `by`, or a `subject`"),
        ("d: {role: sensitive, transform: {method: shift_date, by: x}}", "refers to 'x'"),
        ("d: {role: identifying, transform: {method: noise, scale: 1}}", "leaves too much"),
        ("d: {role: sensitive, transform: {method: top_bottom_coding}}", "give `bottom`"),
        ("d: {role: sensitive, transform: {method: noise, scale: 1, minimum: 2, maximum: 1}}", "less than"),
    ],
)  # fmt: skip
def test_what_a_policy_may_not_say(
    make_policy: Callable[..., Policy], columns: str, says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        make_policy(columns)


@pytest.mark.parametrize(
    "transform",
    ["shift_date, by: who", "noise, scale: 1, by: who", "round, to: 1", "microaggregate, k: 2",
     "top_bottom_coding, top: 1"],
)  # fmt: skip
def test_text_is_refused(plan_of: Callable[..., Plan], transform: str) -> None:
    table = pa.table({"who": ["a"], "d": ["b"]})
    with pytest.raises(ColumnType, match="column 'd' has type string"):
        plan_of(PERSON + f"d: {{role: sensitive, transform: {{method: {transform}}}}}", table)


def test_a_quasi_identifier_may_be_microaggregated_and_shifted(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:
    table = pa.table(
        {
            "who": [f"p{i}" for i in range(300)],
            "age": [20 + i % 60 for i in range(300)],
            "seen": [date(2024, 1, 1) + timedelta(i % 3) for i in range(300)],
            "zip": [f"1{i % 4}" for i in range(300)],
        }
    )
    policy = make_policy(
        "who: {role: identifying, transform: {method: drop}}\n"
        "age: {role: quasi-identifying, transform: {method: microaggregate, k: 20}}\n"
        "seen: {role: insensitive, transform: {method: shift_date, days: 30}}\n"
        "zip: {role: quasi-identifying, hierarchy: {kind: prefix}}",
        subject={"kind": "person", "key": "who"},
        privacy={"k_anonymity": 5, "suppression_limit": 0.1},
    )
    source = open_dataset(write(tmp_path / "p.parquet", table))
    done = anonymize(policy, source, open_dataset(str(tmp_path / "safe.parquet")), keys)
    assert all(finding.passed for finding in done.findings)
    out = read(tmp_path / "safe.parquet")
    assert out.schema.names == ["age", "seen", "zip"]
    assert min(Counter((r["age"], r["zip"]) for r in out.to_pylist()).values()) >= 5
