"""What an event that comes late, or never, does to what evidence says of a release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.lineage import ingest_event, record_release
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from tests.lineage.events import dataset, event
from tests.lineage.test_lineage import states

POLICY = """\
version: 1
dataset: x
owner: me
subject: {kind: p, key: email}
privacy: {k_anonymity: 5}
anonymity: {claimed_by: x, reason: y}
columns:
  email: {role: identifying, transform: {method: drop}}
  zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""


class Desk:
    def __init__(self, folder: Path, register: Register, keys: KeyRing) -> None:
        self.register, self.keys = register, keys
        self.policy = parse_policy(POLICY, "p.yaml")
        raw = folder / "raw.parquet"
        pq.write_table(pa.table({"email": [f"a{i}@x" for i in range(9)], "zip": ["1"] * 9}), raw)
        self.raw, self.out = open_dataset(str(raw)), open_dataset(str(folder / "out.parquet"))

    def release(self) -> None:
        done = anonymize(self.policy, self.raw, self.out, self.keys)
        record_release(
            self.register, self.keys, self.policy, self.raw, self.out, done.result(None),
        )  # fmt: skip

    def copy(self, state: str, hours_ago: float, columns: list[str] | None = None) -> None:
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        source, target = (
            dataset(d.name.name, columns or ["email", "zip"], d.name.namespace)
            for d in (self.raw, self.out)
        )
        made: dict[str, Any] = event("copy", [source], [target], state, time=at.isoformat())
        ingest_event(made, self.register, self.keys.verification_keys())

    def states(self) -> set[str]:
        found = states(self.register)
        return {state for name, state in found.items() if "out.parquet" in name}


@pytest.fixture
def desk(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Desk:
    return Desk(tmp_path, sqlite_register, keys)


@pytest.mark.parametrize("hours", [0.2, 2.0, 20.0])
@pytest.mark.parametrize("first", [True, False])
def test_a_run_whose_end_nobody_told_may_be_writing(desk: Desk, hours: float, first: bool) -> None:
    if first:
        desk.copy("START", hours)
    desk.release()
    if not first:
        desk.copy("START", hours)
    assert "identified" in desk.states()


def test_a_run_that_began_long_ago_is_over(desk: Desk) -> None:
    desk.copy("START", 30.0, ["zip"])
    desk.release()
    assert desk.states() == {"anonymous"}


@pytest.mark.parametrize("hours", [0.5, 2.0, 12.0])
def test_a_clock_that_takes_local_time_for_utc_proves_nothing(desk: Desk, hours: float) -> None:
    desk.release()
    desk.copy("COMPLETE", hours)
    assert "identified" in desk.states()


def test_an_old_event_that_comes_late_changes_nothing(desk: Desk) -> None:
    desk.release()
    desk.copy("COMPLETE", 24.0)
    found = states(desk.register)
    mine = {name.split("#")[1]: s for name, s in found.items() if "out.parquet#" in name}
    assert mine["zip"] == "anonymous"


def test_evidence_speaks_of_the_columns_that_it_names(desk: Desk) -> None:
    desk.release()
    desk.copy("COMPLETE", 24.0)
    found = states(desk.register)
    mine = {name.split("#")[1]: s for name, s in found.items() if "out.parquet#" in name}
    assert mine.get("email", "identified") == "identified"
