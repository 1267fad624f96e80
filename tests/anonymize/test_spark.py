"""The Spark engine gives what the local one gives, row for row."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import anonymize, pseudonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet, MlsecError, UnsupportedDataset, UsageError
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import without_suppressed
from tests import canaries
from tests.anonymize.test_persons import normal, visits

pyspark = pytest.importorskip("pyspark", reason="the Spark engine's tests need the extra `spark`")
if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
    pytest.skip("Spark needs Java 17 or later: install a JRE", allow_module_level=True)

COLUMNS = """
who: {role: identifying, transform: {method: pseudonymize, domain: p}}
"full name": {role: identifying, transform: {method: redact}}
born: {role: quasi-identifying, hierarchy: {kind: date}}
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5, 10, 20, 40]}}
zip: {role: quasi-identifying, hierarchy: {kind: prefix}}
income: {role: sensitive, transform: {method: noise, scale: 100}}
illness: {role: sensitive}
seen: {role: sensitive, transform: {method: shift_date, days: 30}}
at: {role: insensitive}
weight: {role: insensitive, transform: {method: microaggregate, k: 4}}
"""


def people(rows: int = 3_000) -> pa.Table:
    return pa.table(
        {
            "who": [f"p{i}" for i in range(rows)],
            "full name": [canaries.NAME] * rows,
            "born": [None if i % 50 == 0 else date(1950, 1, 1) + timedelta(i * 7 % 12_000) for i in range(rows)],
            "age": [None if i % 40 == 0 else 20 + i * 31 % 60 for i in range(rows)],
            "zip": [f"1{i * 17 % 40:03d}" for i in range(rows)],
            "income": [20_000 + i * 97 % 9_000 for i in range(rows)],
            "illness": [["flu", "cold", None, "gout"][i * 13 % 4] for i in range(rows)],
            "seen": [date(2024, 1, 1) + timedelta(i % 90) for i in range(rows)],
            "at": [datetime(2024, 5, 1, i % 24, i % 60) for i in range(rows)],
            "weight": [50 + i * 7 % 400 / 8 for i in range(rows)],
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", 4)
        .config("spark.sql.files.maxPartitionBytes", 20_000)
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Callable[..., Policy]:
    def run(**privacy: Any) -> Policy:
        given = {"k_anonymity": 5, "suppression_limit": 0.1, **privacy}
        subject = {"kind": "person", "key": "who"}
        return make_policy(COLUMNS, privacy=given, subject=subject, membership="keep")

    return run


def by_person(path: Path) -> list[dict[str, Any]]:
    return sorted(pq.read_table(path).to_pylist(), key=lambda row: str(row["who"]))


@pytest.mark.parametrize(
    "privacy",
    [
        pytest.param({}, id="full-domain"),
        pytest.param({"recoding": "local"}, id="local"),
        pytest.param(
            {"recoding": "multidimensional", "t_closeness": {"illness": {"distance": "equal", "t": 0.3}}},
            id="multidimensional",
        ),
    ],
)  # fmt: skip
def test_both_engines_give_the_same(
    spark: Any,
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    privacy: dict[str, Any],
) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    for part in range(3):
        pq.write_table(people().slice(part * 1_000, 1_000), folder / f"{part}.parquet")
    made, source, done = policy(**privacy), open_dataset(str(folder)), {}
    for engine in ("local", "spark"):
        done[engine] = anonymize(
            made,
            source,
            open_dataset(str(tmp_path / f"{engine}.parquet")),
            keys,
            plan_path=tmp_path / f"{engine}.json",
            membership_path=tmp_path / f"{engine}.age",
            engine=engine,  # type: ignore[arg-type]
        )
    local, remote = done["local"], done["spark"]
    assert by_person(tmp_path / "spark.parquet") == by_person(tmp_path / "local.parquet")
    assert pq.read_schema(tmp_path / "spark.parquet") == pq.read_schema(tmp_path / "local.parquet")
    assert (remote.rows, remote.released, remote.subjects) == (
        3_000,
        local.released,
        local.subjects,
    )
    assert remote.plan.digest == local.plan.digest
    assert remote.findings == local.findings
    assert all(finding.passed for finding in remote.findings)
    # Nothing of the tasks' files is left.
    assert not list(tmp_path.glob(".mlsec-spark-*"))


def test_a_given_plan_and_a_dry_run(
    spark: Any,
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", people(500)))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    plan = anonymize(policy(), source, target, keys).plan
    before = by_person(tmp_path / "safe.parquet")
    again = anonymize(policy(), source, target, keys, plan=plan, engine="spark")
    assert by_person(tmp_path / "safe.parquet") == before
    assert again.released == len(before)
    only = open_dataset(str(tmp_path / "nothing.parquet"))
    tried = anonymize(policy(), source, only, keys, engine="spark", dry_run=True)
    assert tried.released == len(before)
    assert not only.exists()


def test_whoever_was_erased_stays_out(
    spark: Any,
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    sqlite_register: Register,
) -> None:
    from airflow_mlsec.subjects._suppression import suppress

    source = open_dataset(write(tmp_path / "p.parquet", people(400)))
    made = policy()
    sqlite_register.write(
        lambda c: suppress(c, keys, "person", {"": ["p7"]}, 1, "2026-01-01T00:00:00Z")
    )
    left = without_suppressed(source, made, sqlite_register, keys)
    counts = {
        engine: anonymize(
            made,
            left,
            open_dataset(str(tmp_path / f"{engine}.parquet")),
            keys,
            engine=engine,  # type: ignore[arg-type]
        ).rows
        for engine in ("local", "spark")
    }
    assert counts == {"local": 399, "spark": 399}
    assert by_person(tmp_path / "spark.parquet") == by_person(tmp_path / "local.parquet")


def test_what_it_cannot_do_is_said_and_leaves_nothing(
    spark: Any,
    policy: Callable[..., Policy],
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    target = open_dataset(str(tmp_path / "safe.parquet"))
    (tmp_path / "p.csv").write_text("a\n1\n")
    plain = make_policy("a: {role: insensitive}")
    with pytest.raises(UnsupportedDataset, match="Parquet"):
        anonymize(plain, open_dataset(str(tmp_path / "p.csv")), target, keys, engine="spark")
    coded = make_policy("a: {role: identifying, transform: {method: vault, domain: d}}")
    source = open_dataset(write(tmp_path / "a.parquet", pa.table({"a": [canaries.EMAIL]})))
    with pytest.raises(UsageError, match="local engine"):
        anonymize(coded, source, target, keys, engine="spark")
    short = open_dataset(write(tmp_path / "s.parquet", people(3)))
    with pytest.raises(GuaranteeNotMet, match="has 3 rows in all"):
        anonymize(policy(suppression_limit=0), short, target, keys, engine="spark")
    # What goes wrong in a task is told without a value.
    formatted = make_policy("a: {role: identifying, transform: {method: fpe, alphabet: digits}}")
    with pytest.raises(MlsecError, match="leave fewer than 6 characters") as caught:
        anonymize(formatted, source, target, keys, engine="spark")
    assert canaries.found_in(str(caught.value)) == []
    assert not target.exists()
    assert not list(tmp_path.glob(".mlsec-spark-*"))


PERSONS = """
who: {role: identifying, transform: {method: METHOD}}
zip: {role: quasi-identifying, hierarchy: {kind: prefix}}
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [10, 20]}}
ill: {role: sensitive}
"""


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_persons_are_counted_as_brute_force_counts_them(
    spark: Any,
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    recoding: str,
    seed: int,
) -> None:
    """Rows of people who come more than once, written in their own ways; some nobody's."""
    table = visits(seed)
    privacy = {"k_anonymity": 3, "suppression_limit": 1.0, "recoding": recoding}
    made = make_policy(
        PERSONS.replace("METHOD", "pseudonymize, domain: d"), subject={"kind": "person", "key": "who"}, privacy=privacy
    )  # fmt: skip
    source, done = open_dataset(write(tmp_path / "p.parquet", table)), {}
    for engine in ("local", "spark"):
        target = open_dataset(str(tmp_path / f"{engine}.parquet"))
        done[engine] = anonymize(made, source, target, keys, engine=engine)  # type: ignore[arg-type]
    assert (
        sorted(map(str, pq.read_table(tmp_path / "spark.parquet").to_pylist()))
        == sorted(map(str, pq.read_table(tmp_path / "local.parquet").to_pylist()))
    )  # fmt: skip
    assert done["spark"].findings == done["local"].findings
    assert done["spark"].persons == done["local"].persons
    assert done["spark"].plan.achieved["persons"] == done["local"].plan.achieved["persons"]
    # Every pseudonym is one spelling; brute force knows which of them are one person.
    spelled = {
        token: normal(text)
        for text in set(table.column("who").to_pylist())
        if text is not None
        for token in pseudonymize(pa.array([text]), "who", keys.ensure("pseudonym.d").secret).to_pylist()
    }  # fmt: skip
    classes: dict[Any, set[str]] = {}
    for row in pq.read_table(tmp_path / "spark.parquet").to_pylist():
        classes.setdefault((row["zip"], row["age"]), set()).add(spelled.get(row["who"], ""))
    assert min(map(len, classes.values()), default=3) >= 3


def test_a_given_plan_is_held_to_the_persons_of_other_rows(
    spark: Any,
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    privacy = {"k_anonymity": 3, "suppression_limit": 1.0}
    subject = {"kind": "person", "key": "who"}
    made = make_policy(PERSONS.replace("METHOD", "drop"), subject=subject, privacy=privacy)
    fitted = pa.table({"who": ["a", "b", "c"], "zip": ["1"] * 3, "age": [30] * 3, "ill": ["x"] * 3})
    target = open_dataset(str(tmp_path / "safe.parquet"))
    first = open_dataset(write(tmp_path / "a.parquet", fitted))
    plan = anonymize(made, first, target, keys, engine="spark").plan
    one = fitted.set_column(0, "who", [["a", "A", " a"]])
    other = open_dataset(write(tmp_path / "b.parquet", one))
    with pytest.raises(GuaranteeNotMet, match="counted in persons"):
        anonymize(made, other, target, keys, plan=plan, engine="spark")
    assert not list(tmp_path.glob(".mlsec-spark-*"))


def test_a_part_that_is_lost_on_the_way_is_noticed(
    spark: Any,
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_mlsec.datasets import Staging

    everything = Staging.parts

    def all_but_one(self: Staging) -> Iterator[Any]:
        yield from list(everything(self))[1:]

    monkeypatch.setattr(Staging, "parts", all_but_one)
    source = open_dataset(write(tmp_path / "p.parquet", people(600)))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    with pytest.raises(GuaranteeNotMet, match="rows were lost"):
        anonymize(policy(), source, target, keys, engine="spark")
    assert not target.exists()


def test_a_table_of_a_database_is_released_where_tasks_are_here(
    spark: Any,
    policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", people(300)))
    target = open_dataset(f"sqlite://{tmp_path}/safe.db/people")
    done = anonymize(policy(), source, target, keys, engine="spark")
    assert sum(batch.num_rows for batch in target.scan()) == done.released > 0
