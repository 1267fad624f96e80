"""Checking a release again after rows were removed from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal

import pyarrow as pa
from pydantic import ValidationError

from airflow_mlsec.anonymize import Finding, verify_release
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.lineage import policy_of, record_removal
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects._places import Place, Places


def renew_evidence(
    register: Register,
    keys: KeyRing,
    places: Places,
    place: Place,
    dataset: Dataset,
    left: Collection[str],
    request: int,
) -> str | None:
    """Check a release from which rows were removed, and keep what was found as its evidence; what does not
    hold any more, as people read it. Does nothing for what is no release, did not change, was released anew, or
    is a file that is none of those (SHA-256) that were ``left``."""
    released = places.releases.get(place.id)
    if place.stage != "release" or not released:
        return None
    before = released[-1]
    stated = before["target"].get("sha256")
    counted = _Counted(dataset.scan())
    findings = _check(register, before, dataset, counted)
    digest = dataset.digest()
    if digest is not None and digest not in left:
        return None
    if stated is None and counted.rows == before["numbers"]["released"]:
        return None
    checks = [{"check": f.check, "passed": f.passed, "detail": f.detail} for f in findings]
    record_removal(register, keys, place.id, digest, before, counted.rows, checks, request)
    failed = [f"{f.check} ({f.detail})" for f in findings if not f.passed]
    return "; ".join(failed) or None


def _check(
    register: Register, before: dict[str, Any], dataset: Dataset, rows: _Counted
) -> list[Finding]:
    document = policy_of(register, before["policy"])
    try:
        if document is None:
            raise ValueError
        policy = Policy.model_validate(document)
        # Who is erased leaves; nobody gets more rows by that.
        people: Literal["one row each"] | None = None
        numbers = before["numbers"]
        carried = policy.subject is not None and policy.subject.key in dataset.schema().names
        if not carried and numbers.get("persons") and numbers["persons"] == numbers["released"]:
            people = "one row each"
        return verify_release(policy, dataset.schema(), rows, people=people)
    except (ValidationError, ValueError, MlsecError) as error:
        for _ in rows:
            pass
        detail = f"could not be checked ({type(error).__name__})"
        return [Finding("the policy's guarantees", False, detail)]


class _Counted:
    """Batches that are counted as they are read."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch
