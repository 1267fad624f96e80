"""Guarantees are about persons: brute force counts them, whatever the recoding."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan, verify_release
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.hierarchies import Dates
from airflow_mlsec.policy import Policy
from airflow_mlsec.verify._people import PeopleCounter
from tests.conftest import SLOW

RECODINGS = ("full-domain", "local", "multidimensional")
COLUMNS = """
who: {role: identifying, transform: {method: METHOD}}
zip: {role: quasi-identifying, hierarchy: {kind: prefix}}
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [10, 20]}}
ill: {role: sensitive}
"""
SUBJECT = {"kind": "person", "key": "who"}


def policy_of(
    make_policy: Callable[..., Policy],
    recoding: str,
    method: str = "pseudonymize, domain: d",
    **more: Any,
) -> Policy:
    privacy = {"k_anonymity": 3, "suppression_limit": 1.0, "recoding": recoding, **more}
    columns = COLUMNS.replace("METHOD", method)
    return make_policy(columns, subject=SUBJECT, privacy=privacy)


def normal(text: str | None) -> str:
    return (text or "").strip().casefold()


def visits(seed: int, persons: int = 40) -> pa.Table:
    """Rows of people who come more than once, written in their own ways; some nobody's."""
    draw = random.Random(seed)
    rows: list[tuple[str | None, str, int, str | None]] = []
    for i in range(persons):
        for _ in range(draw.choice([1, 1, 1, 2, 3, 9])):
            name = draw.choice([f"p{i}@x.test", f"P{i}@X.test", f" p{i}@x.test "])
            who = None if draw.random() < 0.03 else name
            ill = draw.choice(["flu", "Flu ", "hiv", "cold", None])
            rows.append(
                (who, f"{draw.randrange(3)}{draw.randrange(3)}", draw.randrange(20, 60), ill)
            )
    names = ("who", "zip", "age", "ill")
    return pa.table({n: [r[i] for r in rows] for i, n in enumerate(names)})


@pytest.mark.parametrize("recoding", RECODINGS)
@pytest.mark.parametrize("method", ["pseudonymize, domain: d", "drop"])
@settings(max_examples=300 if SLOW else 15)
@given(seed=st.integers(0, 10**6))
def test_every_class_has_k_persons(
    tmp_path_factory: pytest.TempPathFactory, recoding: str, method: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("persons")
    from airflow_mlsec.policy import parse_policy

    made = parse_policy(
        "version: 1\ndataset: x\nowner: o\nsubject: {kind: person, key: who}\n"
        f"privacy: {{k_anonymity: 3, suppression_limit: 1.0, recoding: {recoding}}}\ncolumns:"
        + COLUMNS.replace("METHOD", method).replace("\n", "\n  "),
        "p",
    )
    keys, table = KeyRing.create(folder / "keys"), visits(seed)
    raw, safe = (open_dataset(str(folder / n)) for n in ("raw.parquet", "safe.parquet"))
    with raw.replacing(table.schema) as staged:
        for batch in table.to_batches(max_chunksize=17):
            staged.write(batch)
    try:
        done = anonymize(made, raw, safe, keys, plan_path=folder / "plan.json")
    except GuaranteeNotMet:
        return  # nothing was published
    # Brute force: the rows as the plan transforms them, and whose each is.
    plan = Plan.load(folder / "plan.json", keys.verification_keys())
    [batch] = table.combine_chunks().to_batches()
    shown, released = plan.transform_batch(batch, keys)
    people: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for place, kept in enumerate(released.to_pylist()):
        if kept:
            label = tuple(shown.column(n)[place].as_py() for n in ("zip", "age"))
            people[label].add(normal(table.column("who")[place].as_py()))
    assert all(len(persons) >= 3 for persons in people.values())
    promised = min(len(persons) for persons in people.values())
    assert done.summary()["k_anonymity"] == promised


@pytest.mark.parametrize("recoding", RECODINGS)
def test_six_rows_of_one_person_are_no_company(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, recoding: str
) -> None:
    alone = [("anna@x.test", "99", 30, "hiv")] * 7
    others = [(f"p{i}@x.test", "11", 30, "flu") for i in range(10)]
    rows = [*alone, *others]
    table = pa.table({n: [r[i] for r in rows] for i, n in enumerate(("who", "zip", "age", "ill"))})
    raw, safe = (open_dataset(str(tmp_path / n)) for n in ("raw.parquet", "safe.parquet"))
    with raw.replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    anonymize(policy_of(make_policy, recoding), raw, safe, keys)
    found = [r for b in safe.scan(["zip"]) for r in b.column(0).to_pylist()]
    assert not any(str(zip_code).startswith("9") or zip_code == "{99}" for zip_code in found)


@pytest.mark.parametrize(
    "spellings",
    [
        pytest.param(["anna", "\uff41nna", "anna\t"], id="full width, tabs"),
        pytest.param(["anna", "anna\u00a0", "anna\n"], id="other blanks"),
        pytest.param([None, "", " "], id="nobody"),
        pytest.param(["stra\u00dfe", "STRASSE", "strasse"], id="sharp s"),
    ],
)
def test_spellings_of_one_person_are_one_under_a_given_plan_as_well(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, spellings: list[str | None]
) -> None:
    made = policy_of(make_policy, "full-domain", "drop", suppression_limit=0.0)
    first = write(tmp_path, "first.parquet", one_each("1", 6))
    safe = open_dataset(str(tmp_path / "safe.parquet"))
    with pytest.raises(GuaranteeNotMet):
        anonymize(
            policy_of(make_policy, "full-domain", "drop", k_anonymity=99, suppression_limit=0.0),
            first,
            safe,
            keys,
        )
    table = pa.table(
        {
            "who": [*spellings, "q1", "q2", "q3"],
            "zip": ["1"] * 3 + ["2"] * 3,
            "age": [20] * 6,
            "ill": ["flu"] * 6,
        }
    )
    whole = table.set_column(0, "who", pa.array([f"p{i}" for i in range(6)]))
    anonymize(
        made, write(tmp_path, "w.parquet", whole), safe, keys, plan_path=tmp_path / "plan.json"
    )
    plan = Plan.load(tmp_path / "plan.json", keys.verification_keys())
    if plan.achieved["classes"] > 1:
        with pytest.raises(GuaranteeNotMet, match="counted in persons"):
            anonymize(made, write(tmp_path, "o.parquet", table), safe, keys, plan=plan)


def test_the_checker_counts_persons_by_itself(
    make_policy: Callable[..., Policy],
) -> None:
    made = policy_of(make_policy, "full-domain")
    token = "0" * 31
    table = pa.table(
        {
            "who": [token + "1"] * 3 + [token + c for c in "234"],
            "zip": ["1"] * 3 + ["2"] * 3, "age": ["[20, 30)"] * 6, "ill": ["flu"] * 6,
        }
    )  # fmt: skip
    failed = [f for f in verify_release(made, table.schema, table.to_batches()) if not f.passed]
    assert [f.check for f in failed] == ["k-anonymity with k=3, counted in persons"]
    assert failed[0].figure == 1


def test_without_whose_the_rows_are_the_file_alone_is_unknown(
    make_policy: Callable[..., Policy],
) -> None:
    made = policy_of(make_policy, "full-domain", "drop")
    table = pa.table({"zip": ["1"] * 9, "age": ["*"] * 9, "ill": ["flu"] * 9})
    [failed] = [f for f in verify_release(made, table.schema, table.to_batches()) if not f.passed]
    assert failed.detail.startswith("unknown")


# --- a given plan does not forget the policy


def write(folder: Path, name: str, table: pa.Table) -> Any:
    dataset = open_dataset(str(folder / name))
    with dataset.replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)
    return dataset


def one_each(prefix: str, number: int = 30) -> pa.Table:
    return pa.table(
        {
            "who": [f"{prefix}{i}@x.test" for i in range(number)],
            "zip": [f"{prefix}{i % 3}" for i in range(number)],
            "age": [20 + i % 3 for i in range(number)],
            "ill": [["flu", "hiv", "cold"][i % 3] for i in range(number)],
        }
    )


def test_a_plan_of_other_people_is_held_to_the_limit(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    made = policy_of(make_policy, "full-domain", suppression_limit=0.0)
    first = write(tmp_path, "first.parquet", one_each("1"))
    safe = open_dataset(str(tmp_path / "safe.parquet"))
    done = anonymize(made, first, safe, keys, plan_path=tmp_path / "plan.json")
    before = (tmp_path / "safe.parquet").read_bytes()
    plan = Plan.load(tmp_path / "plan.json", keys.verification_keys())
    for table in (one_each("2"), pa.concat_tables([one_each("1"), one_each("2", 3)])):
        other = write(tmp_path, "other.parquet", table)
        with pytest.raises(GuaranteeNotMet, match="fall in no class"):
            anonymize(made, other, safe, keys, plan=plan)
        assert (tmp_path / "safe.parquet").read_bytes() == before
    # What is reported is what came out, not what the plan was fitted to.
    fewer = write(tmp_path, "fewer.parquet", one_each("1").slice(0, 9))
    again = anonymize(made, fewer, open_dataset(str(tmp_path / "f.parquet")), keys, plan=plan)
    assert done.summary()["k_anonymity"] == 10
    assert again.summary()["k_anonymity"] == 3


def test_an_empty_release_has_to_be_asked_for(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    made = policy_of(make_policy, "full-domain")
    first = write(tmp_path, "first.parquet", one_each("1"))
    safe = open_dataset(str(tmp_path / "safe.parquet"))
    anonymize(made, first, safe, keys, plan_path=tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json", keys.verification_keys())
    other = write(tmp_path, "other.parquet", one_each("2"))
    with pytest.raises(GuaranteeNotMet, match="must be requested"):
        anonymize(made, other, safe, keys, plan=plan)
    assert anonymize(made, other, safe, keys, plan=plan, allow_empty=True).released == 0


# --- what is compared, and what is a value


def test_closeness_is_what_a_reader_measures(make_policy: Callable[..., Policy]) -> None:
    made = make_policy(
        "zip: {role: quasi-identifying, hierarchy: {kind: suppress}}\nill: {role: sensitive}",
        privacy={
            "k_anonymity": 5, "suppression_limit": 1.0,
            "t_closeness": {"ill": {"distance": "equal", "t": 0.2}},
        },
    )  # fmt: skip
    table = pa.table({"zip": ["1"] * 5 + ["2"] * 5, "ill": ["hiv"] * 5 + ["flu"] * 5})
    [failed] = [f for f in verify_release(made, table.schema, table.to_batches()) if not f.passed]
    assert "0.5000 from the released rows" in failed.detail


@pytest.mark.parametrize(
    ("values", "least", "holds"),
    [
        pytest.param(["hiv", None], 2, False, id="missing is no value"),
        pytest.param(["HIV", "hiv", "Hiv "], 3, False, id="spellings are one"),
        pytest.param([None, None], 2, False, id="nothing but missing"),
        pytest.param(["e\u0301", "\u00e9"], 2, False, id="composed and decomposed"),
        pytest.param(["hiv", "flu", None], 2, True, id="two values and a missing one"),
    ],
)
@pytest.mark.parametrize("kind", ["distinct", "entropy"])
def test_diversity_counts_values_not_spellings(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    values: list[Any],
    least: int,
    holds: bool,
    kind: str,
) -> None:
    privacy = {
        "k_anonymity": 2, "suppression_limit": 0.0,
        "l_diversity": {"ill": {"kind": kind, "l": least if holds or kind == "distinct" else 1.5}},
    }  # fmt: skip
    made = make_policy(
        "zip: {role: quasi-identifying, hierarchy: {kind: suppress}}\nill: {role: sensitive}",
        privacy=privacy,
    )
    table = pa.table({"zip": ["1"] * len(values) * 2, "ill": pa.array(values * 2, pa.string())})
    checked = verify_release(made, table.schema, table.to_batches())
    assert all(f.passed for f in checked) == holds

    def fit() -> Plan:
        return fit_plan(made, table.schema, lambda c: table.select(c).to_batches(), keys)

    if holds:
        assert fit().achieved["suppressed"] == 0
    else:
        with pytest.raises(GuaranteeNotMet):
            fit()


# --- dates


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_date_is_the_one_of_its_own_zone(zone: str, unit: str) -> None:
    moment = datetime(1990, 1, 1, 0, 0, tzinfo=ZoneInfo(zone))
    array = pa.array([moment], pa.timestamp(unit, zone))
    labels = {
        level: Dates(("day", "month", "year", "decade")).label(array, level, "born")[0].as_py()
        for level in range(1, 5)
    }
    assert labels == {1: "1990-01-01", 2: "1990-01", 3: "1990", 4: "1990s"}
    naive = pa.array([datetime(1990, 1, 1)], pa.timestamp(unit))
    assert Dates(("day",)).label(naive, 1, "born")[0].as_py() == "1990-01-01"
    from airflow_mlsec.anonymize import calendar_dates

    assert calendar_dates(array)[0].as_py() == calendar_dates(naive)[0].as_py() == date(1990, 1, 1)


@pytest.mark.parametrize("seed", range(6))
def test_a_mean_is_of_as_many_persons_as_the_policy_says(
    make_policy: Callable[..., Policy], keys: KeyRing, seed: int
) -> None:
    draw = random.Random(seed)
    rows = [
        (draw.choice([f"p{i}", f" P{i}"]), draw.randrange(60))
        for i in range(40)
        for _ in range(draw.choice([1, 1, 2, 12]))
    ]
    table = pa.table({"who": [r[0] for r in rows], "pay": [r[1] for r in rows]})
    columns = "who: {role: identifying, transform: {method: drop}}\npay: {role: sensitive, transform: {method: microaggregate, k: 5}}\n"
    policy = make_policy(columns, subject=SUBJECT)
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    means = plan.apply(table, keys).column("pay").to_pylist()
    groups: dict[float, set[str]] = defaultdict(set)
    for (who, _), mean in zip(rows, means, strict=True):
        groups[mean].add(normal(who))
    assert len(groups) > 1
    assert min(map(len, groups.values())) >= 5


def test_the_checker_takes_a_negative_zero_for_zero() -> None:
    counter = PeopleCounter([])
    counter.add(pa.record_batch({"x": [1, 1]}), pa.array([0.0, -0.0]))
    assert counter.fewest() == (1, 1)


def test_people_of_the_population_are_counted_once(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    """Two people of the population with four rows each are no eight that somebody could be."""
    columns = "who: {role: identifying, transform: {method: drop}}\nzip: {role: quasi-identifying, hierarchy: {kind: suppress}}\n"
    crowd = write(tmp_path, "crowd.parquet", pa.table({"who": ["a", "b"] * 4, "zip": ["1"] * 8}))
    raw = write(tmp_path, "raw.parquet", pa.table({"who": ["a", "b"], "zip": ["1", "1"]}))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    for k, reached in ((5, False), (2, True)):
        privacy = {"k_map": k, "population": "crowd", "suppression_limit": 0}
        policy = make_policy(columns, subject=SUBJECT, privacy=privacy)
        if reached:
            assert anonymize(policy, raw, target, keys, population=crowd).released == 2
        else:
            with pytest.raises(GuaranteeNotMet):
                anonymize(policy, raw, target, keys, population=crowd)
