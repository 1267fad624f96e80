from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import check_dataset, controls, record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections, open_dataset
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger import Asset, AssetKind, findings
from airflow_mlsec.lineage import record_release
from airflow_mlsec.policy import Policy, keep_from
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.transport import Finding, Outcome, record_findings
from tests import canaries

COMPLETE: dict[str, Any] = {
    "controller": "Example Clinic",
    "purposes": ["research"],
    "lawful_basis": {"basis": "consent", "source": "form 7"},
    "retention": {"keep": "P10Y", "from": "seen"},
    "subject": {"kind": "person", "key": "email"},
}
COLUMNS = """
email: {role: identifying, category: user.contact.email, transform: {method: pseudonymize, domain: d}}
seen: {role: insensitive}
note: {role: sensitive, category: user.health_and_medical}
"""
ON = date(2026, 3, 1)


def table(**columns: Any) -> pa.Table:
    plain = {
        "email": [f"person{i}@example.org" for i in range(10)],
        "seen": [date(2020, 1, 1)] * 10,
        "note": ["fine"] * 10,
    }
    return pa.table({**plain, **columns})


def outcomes(results: Any) -> dict[str, bool]:
    return {control.id: result.passed for control, result in results}


def test_controls_are_data_with_a_source_and_a_check() -> None:
    assert len({control.id for control in controls()}) == len(controls())
    assert all(control.provisions() and control.title.en for control in controls())


def test_a_complete_policy_passes(
    make_policy: Callable[..., Policy], tmp_path: Path, write: Callable[..., str]
) -> None:
    uri = write(tmp_path / "raw.parquet", table())
    results = check_dataset(make_policy(COLUMNS, **COMPLETE), open_dataset(uri), "source", on=ON)
    assert all(outcomes(results).values())
    assert len(results) == 10


@pytest.mark.parametrize(
    ("without", "control"),
    [
        ("controller", "controller-named"),
        ("purposes", "purposes-stated"),
        ("lawful_basis", "lawful-basis-stated"),
        ("retention", "retention-stated"),
        ("subject", "subject-named"),
    ],
)
def test_what_a_policy_leaves_out_fails(
    make_policy: Callable[..., Policy], tmp_path: Path, write: Callable[..., str],
    without: str, control: str,
) -> None:  # fmt: skip
    stated = {key: value for key, value in COMPLETE.items() if key != without}
    uri = write(tmp_path / "raw.parquet", table())
    results = check_dataset(make_policy(COLUMNS, **stated), open_dataset(uri), "source", on=ON)
    assert outcomes(results)[control] is False


@pytest.mark.parametrize(
    ("columns", "control", "says"),
    [
        pytest.param({"extra": ["x"] * 10}, "columns-declared", "not declared: extra", id="extra"),
        pytest.param({"seen": [date(2016, 2, 29)] * 10}, "retention-respected", "10 of 10", id="old"),
        pytest.param({"seen": pa.array([None] * 10, pa.date32())}, "retention-respected", "10 undated", id="undated"),
        pytest.param({"seen": ["2020"] * 10}, "retention-respected", "has type string", id="no date"),
    ],
)  # fmt: skip
def test_what_the_data_breaks_fails(
    make_policy: Callable[..., Policy], tmp_path: Path, write: Callable[..., str],
    columns: dict[str, Any], control: str, says: str,
) -> None:  # fmt: skip
    uri = write(tmp_path / "raw.parquet", table(**columns))
    results = check_dataset(make_policy(COLUMNS, **COMPLETE), open_dataset(uri), "source", on=ON)
    [detail] = [str(result.words) for c, result in results if c.id == control and not result.passed]
    assert says in detail


def test_a_check_that_cannot_be_carried_out_has_failed(
    make_policy: Callable[..., Policy], tmp_path: Path
) -> None:
    missing = open_dataset(str(tmp_path / "none.parquet"))
    results = check_dataset(make_policy(COLUMNS, **COMPLETE), missing, "source", on=ON)
    assert outcomes(results)["columns-declared"] is False
    assert outcomes(results)["retention-respected"] is False


@pytest.fixture
def release(
    make_policy: Callable[..., Policy], tmp_path: Path, write: Callable[..., str], keys: KeyRing,
    sqlite_register: Register,
) -> Policy:  # fmt: skip
    policy = make_policy(COLUMNS, **COMPLETE)
    source = open_dataset(write(tmp_path / "raw.parquet", table()))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    done = anonymize(policy, source, target, keys)
    record_release(sqlite_register, keys, policy, source, target, done.result(None))  # fmt: skip
    return policy


def check_release(policy: Policy, folder: Path, register: Register | None) -> dict[str, Any]:
    safe, raw = open_dataset(f"{folder}/safe.parquet"), open_dataset(f"{folder}/raw.parquet")
    results = check_dataset(policy, safe, "release", raw=raw, register=register)
    return {control.id: result for control, result in results}


def test_a_true_release_passes(release: Policy, tmp_path: Path, sqlite_register: Register) -> None:
    found = check_release(release, tmp_path, sqlite_register)
    assert {name: result.passed for name, result in found.items()} == {
        "guarantee-holds": True,
        "formats-hold": True,
        "no-raw-identifier": True,
        "release-proven": True,
        "release-transport-secured": True,
    }


def test_a_raw_identifier_in_free_text_is_found_and_not_quoted(
    release: Policy, tmp_path: Path, sqlite_register: Register, write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:  # fmt: skip
    raw = table(email=[canaries.EMAIL] * 10)
    safe = read(tmp_path / "safe.parquet")
    write(tmp_path / "raw.parquet", raw)
    write(tmp_path / "safe.parquet", safe.set_column(2, "note", pa.array([canaries.EMAIL] * 10)))
    found = check_release(release, tmp_path, sqlite_register)
    assert not found["no-raw-identifier"].passed
    assert not found["formats-hold"].passed
    assert "note (10 rows)" in str(found["no-raw-identifier"].words)
    assert canaries.found_in(str(found)) == []


def test_raw_rows_under_the_release_s_name_fail_every_check(
    release: Policy, tmp_path: Path, write: Callable[..., str]
) -> None:
    write(tmp_path / "safe.parquet", table())
    found = check_release(release, tmp_path, None)
    failed = {name for name, result in found.items() if not result.passed}
    assert failed == found.keys() - {"release-transport-secured"}


def test_a_release_of_another_policy_is_not_proven(
    release: Policy, tmp_path: Path, sqlite_register: Register, make_policy: Callable[..., Policy]
) -> None:
    other = make_policy(COLUMNS, **{**COMPLETE, "purposes": ["advertising"]})
    found = check_release(other, tmp_path, sqlite_register)
    assert not found["release-proven"].passed
    assert "another version of the policy" in str(found["release-proven"].words)


def test_results_and_declarations_are_recorded(
    release: Policy, tmp_path: Path, register: Register
) -> None:
    raw = open_dataset(f"{tmp_path}/raw.parquet")
    results = check_dataset(release, raw, "source", on=ON)
    record_results(register, release, raw, "source", results, "run-1")
    asset = Asset(AssetKind.DATASET, str(raw.name))
    found = register.read(lambda connection: findings(connection, asset))
    assert len(found) == 10
    assert {(f.by, f.evidence["policy"]) for f in found} == {("task:run-1", release.digest)}
    assert {f.control: f.outcome.holds for f in found} == outcomes(results)
    columns = register.rows(sa.select(t.declared_column).where(t.declared_column.c.name == "email"))
    assert (columns[0].role, columns[0].category) == ("identifying", "user.contact.email")


def test_unknown_controls_are_refused(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no control 'nothing'; it has controller-named"):
        check_dataset(
            make_policy(COLUMNS), open_dataset(f"{tmp_path}/x.csv"), "source", only=["nothing"]
        )


@pytest.mark.parametrize(
    ("on", "keep", "oldest"),
    [
        (date(2026, 3, 1), "P3Y", date(2023, 3, 1)),
        (date(2024, 2, 29), "P1Y", date(2023, 2, 28)),
        (date(2026, 3, 31), "P1M", date(2026, 2, 28)),
        (date(2026, 1, 15), "P1M", date(2025, 12, 15)),
        (date(2026, 3, 1), "P90D", date(2025, 12, 1)),
        (date(2026, 3, 1), "P2W", date(2026, 2, 15)),
        (date(2026, 3, 1), "P1Y2M3D", date(2024, 12, 29)),
        (date(2026, 3, 1), "P9999Y", date(1, 1, 1)),
    ],
)
def test_how_far_back_a_period_reaches(on: date, keep: str, oldest: date) -> None:
    assert keep_from(on, keep) == oldest


def secured(
    policy: Policy, uri: str, register: Register | None, raw: str | None = None, on: date = ON
) -> Any:
    """What the control of encryption in transit says of a dataset that nobody can reach."""
    connections = EnvironmentConnections(
        {f"AIRFLOW_CONN_{name}": "postgres://127.0.0.1:1/d" for name in ("CRM", "LAKE")}
    )
    stage: Any = "source" if raw is None else "release"
    source = None if raw is None else open_dataset(raw, connections)
    only = [f"{stage}-transport-secured"]
    dataset = open_dataset(uri, connections)
    found = check_dataset(policy, dataset, stage, raw=source, register=register, only=only, on=on)
    return found[0][1]


def test_connections_count_as_secured_for_as_long_as_their_check_is_young(
    make_policy: Callable[..., Policy], register: Register
) -> None:
    policy, uri = make_policy(COLUMNS, **COMPLETE), "postgresql://crm/people"
    today = date.fromisoformat(register.now()[:10])

    def said(outcomes: dict[str, Outcome], live: bool = True, **given: Any) -> Any:
        found = [Finding("crm", check, outcome, "…") for check, outcome in outcomes.items()]
        record_findings(register, found, live)
        return secured(policy, uri, register, **{"on": today, **given})

    assert "was never checked" in str(secured(policy, uri, register).words)
    assert "no register" in str(secured(policy, uri, None).words)
    good = {"required": Outcome.PASSED, "encrypted": Outcome.PASSED}
    assert said(good).passed
    assert said(good, on=today + timedelta(days=30)).passed
    old = said(good, on=today + timedelta(days=31))
    assert not old.passed
    assert f"last checked on {today}" in str(old.words)
    assert "not its server" in str(said(good, live=False).words)
    assert said({"local": Outcome.PASSED}, live=False).passed
    bad = said({**good, "chain": Outcome.FAILED, "name": Outcome.UNKNOWN})
    assert not bad.passed
    assert str(bad.words).endswith("did not pass on " + str(today) + ": chain, name")
    # A release is as safe as what brought its source.
    said(good)
    lake = "postgresql://lake/safe"
    assert "connection lake was never" in str(secured(policy, lake, register, uri, today).words)
    assert secured(policy, "/x.csv", register, uri, today).passed
    assert secured(policy, "/x.csv", None, "sqlite:///x.db/t").passed
    record_findings(register, [Finding("crm", "required", Outcome.FAILED, "no TLS")], True)
    assert not secured(policy, "/x.csv", register, uri, today).passed
