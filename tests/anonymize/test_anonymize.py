"""Fitting, applying and releasing, as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan, is_member, verify_release
from airflow_mlsec.crypto import KeyKind, KeyRing, digest_file
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import (
    ColumnMissing,
    ColumnType,
    DecryptionFailed,
    GuaranteeNotMet,
    KeyNotFound,
    MlsecError,
    PlanError,
    PolicyError,
    SignatureInvalid,
    UndeclaredColumn,
    UsageError,
)
from airflow_mlsec.policy import Policy
from tests import canaries

COLUMNS = """
email: {role: identifying, transform: {method: pseudonymize, domain: person}}
name: {role: identifying, transform: {method: drop}}
born: {role: quasi-identifying, hierarchy: {kind: date, levels: [year, decade]}}
zip: {role: quasi-identifying, hierarchy: {kind: prefix}}
sick: {role: sensitive}
"""
SUBJECT = {"kind": "person", "key": "email"}


def people(rows: int = 60) -> pa.Table:
    return pa.table(
        {
            "email": [f"p{i}@example.org" for i in range(rows)],
            "name": [f"Person {i}" for i in range(rows)],
            "born": [date(1950 + i % 20, 1 + i % 12, 1 + i % 28) for i in range(rows)],
            "zip": [f"{10000 + (i * 7919) % 90000}" for i in range(rows)],
            "sick": [i % 3 == 0 for i in range(rows)],
        }
    )


def fitted(policy: Policy, table: pa.Table, keys: KeyRing) -> Plan:
    return fit_plan(policy, table.schema, lambda columns: table.select(columns).to_batches(), keys)


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(COLUMNS, subject=SUBJECT, membership="keep",
                       privacy={"k_anonymity": 5, "suppression_limit": 0.1})  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, write: Callable[..., str]) -> Path:
    write(tmp_path / "raw.parquet", people())
    return tmp_path


def test_a_release_holds_what_the_policy_promises(
    folder: Path, policy: Policy, keys: KeyRing, read: Callable[..., pa.Table]
) -> None:
    source, target = open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/safe.parquet")
    release = anonymize(policy, source, target, keys, plan_path=folder / "plan.json",
                        membership_path=folder / "members.age")  # fmt: skip
    safe = read(folder / "safe.parquet")
    assert safe.schema.names == ["email", "born", "zip", "sick"]
    assert safe.num_rows == release.released == release.subjects
    assert release.rows == 60
    assert safe.to_pandas().groupby(["born", "zip"]).size().min() >= 5
    assert not set(safe["email"].to_pylist()) & set(people()["email"].to_pylist())
    assert len(release.findings) == 6
    assert all(finding.passed for finding in release.findings)
    members = folder / "members.age", digest_file(folder / "members.age"), "person"
    assert is_member(*members, "p1@example.org", keys)
    assert not is_member(*members, "nobody@example.org", keys)
    assert release.plan == Plan.load(folder / "plan.json", keys.verification_keys())


def test_the_same_plan_gives_the_same_bytes(folder: Path, policy: Policy, keys: KeyRing) -> None:
    source, target = open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/safe.parquet")
    anonymize(policy, source, target, keys, plan_path=folder / "plan.json")
    first = (folder / "safe.parquet").read_bytes()
    keys.rotate("pseudonym.person")
    plan = Plan.load(folder / "plan.json", keys.verification_keys())
    anonymize(policy, source, target, keys, plan=plan)
    assert (folder / "safe.parquet").read_bytes() == first, "a plan keeps its key version"
    anonymize(policy, source, target, keys)
    assert (folder / "safe.parquet").read_bytes() != first, "a new plan uses the new version"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "sqlite"])
def test_sources_and_targets_of_other_kinds(
    folder: Path, policy: Policy, keys: KeyRing, write: Callable[..., str], kind: str,
    read: Callable[..., pa.Table],
) -> None:  # fmt: skip
    where = f"sqlite://{folder}/x.db" if kind == "sqlite" else str(folder)
    ending = "" if kind == "sqlite" else f".{kind}"
    raw = write(f"{where}/raw{ending}", people())
    release = anonymize(policy, open_dataset(raw), open_dataset(f"{where}/safe{ending}"), keys)
    assert release.released == read(f"{where}/safe{ending}").num_rows > 50
    parquet = anonymize(
        policy, open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/s.parquet"), keys
    )
    assert parquet.released == release.released
    same = read(f"{where}/safe{ending}")["email"].to_pylist()
    assert same == read(folder / "s.parquet")["email"].to_pylist(), "joinable across kinds"


def test_dry_run_writes_nothing(folder: Path, policy: Policy, keys: KeyRing) -> None:
    before = sorted(p.name for p in folder.iterdir())
    source, target = open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/safe.parquet")
    release = anonymize(policy, source, target, keys, plan_path=folder / "p.json",
                        membership_path=folder / "m.age", dry_run=True)  # fmt: skip
    assert release.released > 0
    assert not release.published
    assert sorted(p.name for p in folder.iterdir()) == before


def test_an_undeclared_column_is_refused_before_anything_is_written(
    folder: Path, policy: Policy, keys: KeyRing, write: Callable[..., str]
) -> None:
    table = people().append_column("ssn", pa.array([canaries.PHONE] * 60))
    write(folder / "raw.parquet", table)
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(UndeclaredColumn, match="column 'ssn'") as error:
        anonymize(policy, open_dataset(f"{folder}/raw.parquet"),
                  open_dataset(f"{folder}/safe.parquet"), keys, plan_path=folder / "p.json")  # fmt: skip
    assert canaries.found_in(str(error.value)) == []
    assert sorted(p.name for p in folder.iterdir()) == before


def test_unlisted_columns_are_dropped_where_the_policy_says_so(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    policy = make_policy("a: {role: insensitive}", unlisted_columns="drop")
    table = pa.table({"a": [1], "secret": ["x"]})
    assert fitted(policy, table, keys).apply(table, keys).schema.names == ["a"]


def test_a_missing_column_names_the_policy(policy: Policy, keys: KeyRing) -> None:
    with pytest.raises(ColumnMissing, match=r"policy .*policy\.yaml names column 'zip'"):
        fitted(policy, people().drop_columns(["zip"]), keys)


@pytest.mark.parametrize(
    ("columns", "table", "says"),
    [
        ("a: {role: quasi-identifying, hierarchy: {kind: date}}", {"a": ["x"]}, "needs a date"),
        ("a: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5]}}", {"a": ["x"]}, "needs a number"),
        ("a: {role: sensitive, transform: {method: mask}}", {"a": [[1]]}, "needs text"),
        ("a: {role: insensitive}", {"a": [{"b": 1}]}, "needs a plain type"),
    ],
)  # fmt: skip
def test_columns_of_the_wrong_type_are_named(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    columns: str,
    table: dict[str, Any],
    says: str,
) -> None:
    policy = make_policy(columns, privacy={"k_anonymity": 2, "suppression_limit": 1.0})
    with pytest.raises(ColumnType, match=f"column 'a' has type .*{says}"):
        fitted(policy, pa.table(table), keys)


def test_an_empty_table_gives_an_empty_release(
    tmp_path: Path, policy: Policy, keys: KeyRing, write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:  # fmt: skip
    write(tmp_path / "raw.parquet", people(0).cast(people().schema))
    release = anonymize(
        policy, open_dataset(f"{tmp_path}/raw.parquet"), open_dataset(f"{tmp_path}/s.parquet"), keys
    )
    assert (release.rows, release.released) == (0, 0)
    assert read(tmp_path / "s.parquet").schema.names == ["email", "born", "zip", "sick"]


def test_fewer_rows_than_k_are_refused(policy: Policy, keys: KeyRing) -> None:
    with pytest.raises(GuaranteeNotMet, match="the dataset has 3 rows in all"):
        fitted(policy, people(3), keys)


def test_all_null_columns_and_odd_texts(make_policy: Callable[..., Policy], keys: KeyRing) -> None:
    policy = make_policy(
        """
        id: {role: identifying, transform: {method: pseudonymize, domain: d}}
        a: {role: quasi-identifying, hierarchy: {kind: prefix}}
        b: {role: quasi-identifying, hierarchy: {kind: interval, widths: [10]}}
        """,
        privacy={"k_anonymity": 2},
    )
    table = pa.table(
        {
            "id": ["Zoë\0", "x" * 10_000, None, "🌍"],
            "a": pa.array([None] * 4, pa.string()),
            "b": pa.array([None] * 4, pa.float64()),
        }
    )
    result = fitted(policy, table, keys).apply(table, keys)
    assert result.num_rows == 4
    assert result["a"].null_count == 4, "nulls are one class and stay null"
    assert result["id"].null_count == 1


VALUES = {
    "text": st.none() | st.text(max_size=3),
    "number": st.none() | st.floats(width=32) | st.sampled_from([0.0, -0.0]),
    "day": st.none() | st.dates(date(1900, 1, 1), date(2030, 1, 1)),
    "flag": st.none() | st.booleans(),
    "price": st.none() | st.decimals(-99, 99, places=1),
}
TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "day": pa.date32(),
    "flag": pa.bool_(),
    "price": pa.decimal128(4, 1),
}
WILD = """
text: {role: quasi-identifying, hierarchy: {kind: prefix}}
number: {role: quasi-identifying, hierarchy: {kind: interval, widths: [1, 10]}}
day: {role: quasi-identifying, hierarchy: {kind: date}}
flag: {role: quasi-identifying, hierarchy: {kind: suppress}}
price: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5]}}
"""


@given(
    rows=st.lists(st.tuples(*VALUES.values()), max_size=25),
    k=st.integers(2, 4),
    limit=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_k_anonymity_holds_for_any_table_and_the_plan_is_a_pure_function(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    rows: list[tuple[Any, ...]],
    k: int,
    limit: float,
) -> None:
    policy = make_policy(WILD, privacy={"k_anonymity": k, "suppression_limit": limit})
    table = pa.table(
        [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(TYPES.values())],
        names=list(TYPES),
    )
    try:
        plan = fitted(policy, table, keys)
    except GuaranteeNotMet:
        assert 0 < len(rows) < k
        return
    result = plan.apply(table, keys)
    counts: dict[tuple[object, ...], int] = {}
    for row in result.to_pylist():
        key = tuple(str(v) for v in row.values())
        counts[key] = counts.get(key, 0) + 1
    assert all(count >= k for count in counts.values())
    assert table.num_rows - result.num_rows <= int(limit * table.num_rows + 1e-9)
    assert all(f.passed for f in verify_release(policy, result.schema, result.to_batches()))
    # Row by row, or from its saved form, it gives the same.
    again = Plan.from_json(json.loads(plan.canonical()))
    single = [again.apply(table.slice(i, 1), keys) for i in range(table.num_rows)]
    assert [
        row for one in single for row in one.to_pylist()
    ].__repr__() == result.to_pylist().__repr__()


def test_a_plan_takes_and_returns_pandas_polars_and_arrow(policy: Policy, keys: KeyRing) -> None:
    table = people()
    plan = fitted(policy, table, keys)
    expected = plan.apply(table, keys)
    frame = plan.apply(table.to_pandas(), keys)
    assert isinstance(frame, pd.DataFrame)
    assert frame["email"].tolist() == expected["email"].to_pylist()
    polar = plan.apply(pl.from_arrow(table), keys)
    assert isinstance(polar, pl.DataFrame)
    assert polar["zip"].to_list() == expected["zip"].to_pylist()
    batch = plan.apply(table.to_batches()[0], keys)
    assert isinstance(batch, pa.RecordBatch)
    assert batch.to_pylist() == expected.to_pylist()
    assert plan.apply(table.to_pandas().iloc[:0], keys).shape == (0, 4)
    with pytest.raises(UsageError, match="not builtins.list"):
        plan.apply([1, 2], keys)


def test_at_inference_dropped_columns_need_not_be_sent(policy: Policy, keys: KeyRing) -> None:
    table = people()
    plan = fitted(policy, table, keys)
    row = table.drop_columns(["name"]).slice(7, 1)
    assert plan.apply(row, keys).to_pylist() == plan.apply(table.slice(7, 1), keys).to_pylist()
    with pytest.raises(ColumnMissing, match="'zip'"):
        plan.apply(table.drop_columns(["zip"]), keys)
    with pytest.raises(UndeclaredColumn, match="'extra'"):
        plan.apply(table.append_column("extra", pa.array([1] * 60)), keys)


def test_rows_of_unseen_classes_are_left_out(policy: Policy, keys: KeyRing) -> None:
    table = people()
    plan = fitted(policy, table, keys)
    stranger = table.slice(0, 1).set_column(3, "zip", pa.array(["ZZZZZ-unseen"]))
    born = pa.array([date(2999, 1, 1)])
    assert plan.apply(stranger.set_column(2, "born", born), keys).num_rows == 0


def test_values_of_a_frame_with_mixed_types_are_not_quoted(policy: Policy, keys: KeyRing) -> None:
    plan = fitted(policy, people(), keys)
    frame = people().to_pandas().astype(object)
    frame.loc[0, "sick"] = canaries.EMAIL
    with pytest.raises(MlsecError) as error:
        plan.apply(frame, keys)
    assert canaries.found_in(str(error.value)) == []


def test_a_destroyed_key_makes_the_plan_useless(policy: Policy, keys: KeyRing) -> None:
    table = people()
    plan = Plan.from_json(fitted(policy, table, keys).to_json())
    keys.destroy("pseudonym.person", 1)
    with pytest.raises(KeyNotFound, match="destroyed"):
        plan.apply(table, keys)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda d: d["plan"]["columns"][1]["action"].update(method="keep"), id="method"
        ),
        pytest.param(lambda d: d["plan"]["classes"].update(k=1), id="k"),
        pytest.param(lambda d: d["plan"]["achieved"].update(ncp=0), id="achieved"),
        pytest.param(lambda d: d.update(signatures=[]), id="no signature"),
    ],
)
def test_a_changed_plan_is_refused(
    folder: Path, policy: Policy, keys: KeyRing, change: Callable[[Any], None]
) -> None:
    plan = fitted(policy, people(), keys)
    plan.save(folder / "plan.json", keys.ensure("signing", KeyKind.SIGNING))
    document = json.loads((folder / "plan.json").read_text())
    change(document)
    (folder / "plan.json").write_text(json.dumps(document))
    with pytest.raises(SignatureInvalid, match="as it stands"):
        Plan.load(folder / "plan.json", keys.verification_keys())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "airflow-mlsec/signed-plan/1"}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, keys: KeyRing, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(PlanError):
        Plan.load(tmp_path / "plan.json", keys.verification_keys())
    with pytest.raises(PlanError, match="no plan at"):
        Plan.load(tmp_path / "none.json", keys.verification_keys())


def test_a_plan_for_another_policy_is_refused(
    folder: Path, policy: Policy, keys: KeyRing, make_policy: Callable[..., Policy]
) -> None:
    plan = fitted(policy, people(), keys)
    other = make_policy(COLUMNS, privacy={"k_anonymity": 9})
    with pytest.raises(PlanError, match="another version of policy"):
        anonymize(other, open_dataset(f"{folder}/raw.parquet"),
                  open_dataset(f"{folder}/s.parquet"), keys, plan=plan)  # fmt: skip


def test_source_and_target_must_differ(folder: Path, policy: Policy, keys: KeyRing) -> None:
    source = open_dataset(f"{folder}/raw.parquet")
    with pytest.raises(UsageError, match="same dataset"):
        anonymize(
            policy, source, open_dataset(f"file://{folder}/../{folder.name}/raw.parquet"), keys
        )


def test_the_plan_and_report_hold_no_identifier(
    folder: Path, policy: Policy, keys: KeyRing
) -> None:
    mails = [f"{i}{canaries.EMAIL}" for i in range(60)]
    table = people().set_column(0, "email", pa.array(mails))
    table = table.set_column(1, "name", pa.array([canaries.NAME] * 60))
    plan = fitted(policy, table, keys)
    assert canaries.found_in(plan.canonical().decode()) == []


def test_fixed_transforms_of_quasi_identifiers_count_as_they_come_out(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    policy = make_policy(
        """
        born: {role: quasi-identifying, transform: {method: generalize, hierarchy: {kind: date, levels: [year]}, level: 1}}
        sex: {role: quasi-identifying, hierarchy: {kind: suppress}}
        town: {role: quasi-identifying, transform: {method: constant, value: 1}}
        seen: {role: quasi-identifying, transform: {method: drop}}
        """,
        privacy={"k_anonymity": 3},
    )
    table = pa.table(
        {
            "born": [date(1980, i % 12 + 1, 1) for i in range(6)],
            "sex": ["f", "m"] * 3,
            "town": [f"t{i}" for i in range(6)],
            "seen": list(range(6)),
        }
    )
    result = fitted(policy, table, keys).apply(table, keys)
    assert result.schema.names == ["born", "sex", "town"]
    assert set(result["born"].to_pylist()) == {"1980"}
    assert set(result["sex"].to_pylist()) == {"f", "m"}


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        pytest.param(lambda t: t.append_column("name", pa.array(["x"] * t.num_rows)), "dropped", id="dropped"),
        pytest.param(lambda t: t.set_column(0, "email", pa.array(["a@b.c"] * t.num_rows)), "no raw value", id="raw"),
        pytest.param(lambda t: t.slice(0, 1), "k-anonymity", id="k"),
        pytest.param(lambda t: t.append_column("more", pa.array([1] * t.num_rows)), "declared", id="declared"),
        pytest.param(lambda t: t.drop_columns(["sick"]), "present", id="missing"),
    ],
)  # fmt: skip
def test_the_checker_finds_what_is_wrong(
    policy: Policy, keys: KeyRing, spoil: Callable[[pa.Table], pa.Table], finding: str
) -> None:
    good = fitted(policy, people(), keys).apply(people(), keys)
    bad = spoil(good)
    failed = [f.check for f in verify_release(policy, bad.schema, bad.to_batches()) if not f.passed]
    assert any(finding in check for check in failed)


def test_the_checker_agrees_with_another_one(policy: Policy, keys: KeyRing) -> None:
    good = fitted(policy, people(), keys).apply(people(), keys).to_pandas()
    rows, persons = [
        f
        for f in verify_release(
            policy, pa.Schema.from_pandas(good), pa.Table.from_pandas(good).to_batches()
        )
        if f.check.startswith("k-anonymity")
    ]
    smallest = good.groupby(["born", "zip"]).size().min()
    assert f"has {smallest} rows" in rows.detail
    assert persons.figure == smallest


def test_a_membership_list_opens_only_with_its_ring(
    folder: Path, policy: Policy, keys: KeyRing
) -> None:
    anonymize(policy, open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/s.parquet"), keys,
              membership_path=folder / "m.age")  # fmt: skip
    members = folder / "m.age", digest_file(folder / "m.age"), "person"
    other = KeyRing.create(folder / "other")
    other.ensure("membership-lists", KeyKind.HYBRID)
    with pytest.raises(DecryptionFailed):
        is_member(*members, "p1@example.org", other)
    keys.rotate("membership-lists")
    assert is_member(*members, "p1@example.org", keys), "earlier versions still open"


def test_only_the_membership_list_that_was_signed_is_believed(
    folder: Path, policy: Policy, keys: KeyRing
) -> None:
    """Anybody can encrypt a list of nobody to the ring's public recipient."""
    source, target = open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/s.parquet")
    done = anonymize(policy, source, target, keys, membership_path=folder / "m.age")
    reference = done.membership_reference()
    assert reference is not None
    (folder / "m.age").write_bytes((folder / "m.age").read_bytes() + b" ")
    with pytest.raises(SignatureInvalid, match="not the membership list that was signed"):
        is_member(folder / "m.age", reference.sha256, "person", "p1@example.org", keys)


def test_timestamps_decimals_and_zones_survive_a_plan(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    policy = make_policy("a: {role: insensitive}\nb: {role: sensitive}\nc: {role: sensitive}")
    table = pa.table(
        {
            "a": pa.array([datetime(2020, 1, 1)], pa.timestamp("us", "Europe/Berlin")),
            "b": pa.array([Decimal("1.50")], pa.decimal128(5, 2)),
            "c": pa.array([b"\x00"], pa.binary()),
        }
    )
    plan = Plan.from_json(json.loads(fitted(policy, table, keys).canonical()))
    assert plan.apply(table, keys).equals(table)


def test_a_source_is_not_destroyed_through_a_link(
    folder: Path, policy: Policy, keys: KeyRing, read: Callable[..., pa.Table]
) -> None:
    (folder / "link").symlink_to(folder)
    source = open_dataset(f"{folder}/raw.parquet")
    with pytest.raises(UsageError, match="same dataset"):
        anonymize(policy, source, open_dataset(f"{folder}/link/raw.parquet"), keys)
    assert "name" in read(folder / "raw.parquet").schema.names


def test_the_checker_tells_columns_apart_that_differ_in_case_alone(
    make_policy: Callable[..., Policy],
) -> None:
    policy = make_policy(
        "Zip: {role: quasi-identifying, hierarchy: {kind: prefix}}\n"
        "zip: {role: quasi-identifying, hierarchy: {kind: prefix}}\n"
        "Email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
        "email: {role: identifying, transform: {method: pseudonymize, domain: d}}",
        privacy={"k_anonymity": 2},
    )
    table = pa.table(
        {"Zip": ["a"] * 4, "zip": list("pqrs"), "Email": ["0" * 32] * 4, "email": ["raw@x.org"] * 4}
    )
    failed = [
        f.check for f in verify_release(policy, table.schema, table.to_batches()) if not f.passed
    ]
    assert failed == ["identifying column 'email' holds no raw value", "k-anonymity with k=2"]


@pytest.mark.parametrize("name", ["size", "bad_c0", "rows of class", 'a"b', "a\nb", "select", "Ä"])
def test_columns_may_have_any_name(
    make_policy: Callable[..., Policy], keys: KeyRing, name: str
) -> None:
    quoted = json.dumps(name)
    policy = make_policy(f"{quoted}: {{role: quasi-identifying, hierarchy: {{kind: suppress}}}}",
                         privacy={"k_anonymity": 2})  # fmt: skip
    table = pa.table({name: ["x", "x"]})
    result = fitted(policy, table, keys).apply(table, keys)
    assert all(f.passed for f in verify_release(policy, result.schema, result.to_batches()))


def test_an_error_while_reading_back_is_ours_and_quotes_nothing(
    tmp_path: Path, keys: KeyRing, make_policy: Callable[..., Policy], write: Callable[..., str]
) -> None:
    policy = make_policy(
        "id: {role: identifying, transform: {method: pseudonymize, domain: d}}\nborn: {role: sensitive}"
    )
    table = pa.table({"id": ["a"], "born": pa.array([10**7], pa.date32())})
    write(tmp_path / "raw.parquet", table)
    with pytest.raises(MlsecError) as error:
        anonymize(
            policy, open_dataset(f"{tmp_path}/raw.parquet"), open_dataset(f"{tmp_path}/s.csv"), keys
        )
    assert "29349" not in str(error.value)
    assert not (tmp_path / "s.csv").exists()


def test_a_damaged_source_is_ours_too(
    tmp_path: Path, policy: Policy, keys: KeyRing, write: Callable[..., str]
) -> None:
    write(tmp_path / "raw.parquet", people())
    whole = (tmp_path / "raw.parquet").read_bytes()
    (tmp_path / "raw.parquet").write_bytes(whole[:40] + bytes(200) + whole[240:])
    with pytest.raises(MlsecError):
        anonymize(
            policy, open_dataset(f"{tmp_path}/raw.parquet"), open_dataset(f"{tmp_path}/s.csv"), keys
        )


@pytest.mark.parametrize(
    "columns",
    [
        "a: {role: identifying, transform: {method: generalize, hierarchy: {kind: prefix, keep: [30]}}}",
        "a: {role: quasi-identifying, transform: {method: generalize, hierarchy: {kind: prefix}}}",
    ],
)
def test_a_prefix_that_could_leave_an_identifier_whole_is_refused(
    make_policy: Callable[..., Policy], columns: str
) -> None:
    with pytest.raises(PolicyError, match="prefix"):
        make_policy(columns)


def test_dry_run_counts_also_where_there_is_nothing_to_check(
    folder: Path, keys: KeyRing, make_policy: Callable[..., Policy], write: Callable[..., str]
) -> None:
    policy = make_policy("a: {role: insensitive}")
    write(folder / "raw.parquet", pa.table({"a": [1, 2, 3]}))
    source, target = open_dataset(f"{folder}/raw.parquet"), open_dataset(f"{folder}/s.parquet")
    assert anonymize(policy, source, target, keys, dry_run=True).rows == 3


def test_a_frame_with_two_columns_of_one_name_is_refused(policy: Policy, keys: KeyRing) -> None:
    plan = fitted(policy, people(), keys)
    table = people().append_column("zip", pa.array(["x"] * 60))
    with pytest.raises(UsageError, match="more than one column named 'zip'"):
        plan.apply(table, keys)
