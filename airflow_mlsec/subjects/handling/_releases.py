"""Releases from which rows were erased: checked again, and given their evidence, also after a kill."""

from __future__ import annotations

import contextlib
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
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._requests import Request, targets_of
from airflow_mlsec.subjects.search._places import Place, Places
from airflow_mlsec.subjects.search._search import LEFT, Searcher


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


def _left(work: Work, request: Request, places: Places, place: Place) -> list[str]:
    """The digests of the files that this request's erasures have left of the release that is there."""
    targets = targets_of(work.register, work.keys, request) or {}
    now = [place.id, issued(places, place)]
    return [left[1] for left in targets.get(LEFT, []) if [left[0], *left[2:]] == now]


def renew_after_erasing(
    work: Work, request: Request, searcher: Searcher, place: Place
) -> str | None:
    """Give a release that this request's erasures have left its evidence: see `renew_evidence`."""
    left = _left(work, request, searcher.places, place)
    opened = searcher.open(place)
    return renew_evidence(
        work.register, work.keys, searcher.places, place, opened, left, request.id
    )


def say_what_was_left(work: Work, request: Request, person: Person) -> None:
    """Give files of releases the evidence that an erasure which was killed has not given them."""
    known = targets_of(work.register, work.keys, request)
    if not known or not known.get(LEFT):
        return
    places = work.places(person)
    searcher = work.searcher(person, places, known)
    for place in places.all:
        if not _left(work, request, places, place):
            continue
        with contextlib.suppress(MlsecError):  # what cannot be read is told by looking
            if searcher.changed_since_release(place):
                renew_after_erasing(work, request, searcher, place)


def was_left_so(work: Work, request: Request, searcher: Searcher, place: Place) -> bool:
    """Whether a release's file is the one that an erasure which was killed has left."""
    digest = searcher.open(place).digest()
    return digest is not None and digest in _left(work, request, searcher.places, place)


def issued(places: Places, place: Place) -> str | None:
    """When the newest evidence of a place that is a release was issued."""
    released = places.releases.get(place.id)
    return str(released[-1]["issued_at"]) if released else None
