from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnMissing, ColumnType, UsageError
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import apply_retention, place_hold, release_hold, subject_digest
from tests.actors import who

ON = date(2026, 3, 1)
ROWS = pa.table(
    {
        "email": ["a@x.org", "b@x.org", "b@x.org", "c@x.org", "d@x.org", None],
        "seen": [date(2020, 1, 1), date(2020, 1, 1), date(2026, 1, 1), date(2023, 3, 1), None, date(2019, 5, 5)],
    }
)  # fmt: skip


@pytest.fixture(params=["parquet", "csv", "jsonl", "sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:  # fmt: skip
    if request.param == "postgresql":
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", request.getfixturevalue("postgres_database"))
        return write("postgresql://lake/public.people", ROWS)
    if request.param == "sqlite":
        return write(f"sqlite://{tmp_path}/people.db/people", ROWS)
    return write(tmp_path / f"people.{request.param}", ROWS)


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        "email: {role: identifying, transform: {method: drop}}\nseen: {role: insensitive}",
        subject={"kind": "person", "key": "email"},
        retention={"keep": "P3Y", "from": "seen"},
    )


def left(place: str) -> list[str | None]:
    return [row["email"] for batch in open_dataset(place).scan() for row in batch.to_pylist()]


def test_overdue_rows_are_counted_first_and_erased_on_demand(
    place: str, policy: Policy, sqlite_register: Register, keys: KeyRing
) -> None:
    dataset = open_dataset(place)
    found = apply_retention(sqlite_register, keys, policy, dataset, ON)
    assert (found.rows, found.overdue, found.held, found.erased, found.undated) == (6, 3, 0, 0, 1)
    assert len(left(place)) == 6
    done = apply_retention(sqlite_register, keys, policy, dataset, ON, dry_run=False)
    assert done.erased == 3
    # 1 March 2023 is the oldest day that is kept; rows without a date are left to a person.
    assert left(place) == ["b@x.org", "c@x.org", "d@x.org"]
    assert apply_retention(sqlite_register, keys, policy, dataset, ON, dry_run=False).erased == 0


def test_legal_holds_are_respected(
    place: str, policy: Policy, sqlite_register: Register, keys: KeyRing
) -> None:
    dataset = open_dataset(place)
    digest = subject_digest(keys, "person", "b@x.org")
    hold = place_hold(sqlite_register, "person", "case 9", who("legal"), digest)
    everybody = place_hold(sqlite_register, "person", "audit", who("legal"))
    assert apply_retention(sqlite_register, keys, policy, dataset, ON, dry_run=False).held == 3
    release_hold(sqlite_register, everybody, who("officer"))
    done = apply_retention(sqlite_register, keys, policy, dataset, ON, dry_run=False)
    assert (done.overdue, done.held, done.erased) == (3, 1, 2)
    assert left(place) == ["b@x.org", "b@x.org", "c@x.org", "d@x.org"]
    release_hold(sqlite_register, hold, who("officer"))
    assert apply_retention(sqlite_register, keys, policy, dataset, ON, dry_run=False).erased == 1


def test_what_cannot_be_counted_is_said(
    tmp_path: Path, write: Callable[..., str], make_policy: Callable[..., Policy],
    sqlite_register: Register, keys: KeyRing,
) -> None:  # fmt: skip
    dataset = open_dataset(write(tmp_path / "x.parquet", ROWS))
    columns = "email: {role: identifying, transform: {method: drop}}\nseen: {role: insensitive}"
    for more, error, message in (
        ({}, UsageError, "states no `retention`"),
        ({"retention": {"keep": "P1Y", "from": "lost"}}, ColumnMissing, "'lost'"),
        ({"retention": {"keep": "P1Y", "from": "email"}}, ColumnType, "retention needs a date"),
        ({"retention": {"keep": "P1Y", "from": "seen"}, "erasure": {"retain": "HGB § 257"}}, UsageError, "HGB"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            apply_retention(sqlite_register, keys, make_policy(columns, **more), dataset, ON)
