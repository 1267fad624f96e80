"""Releases from which rows were erased: checked again and given new evidence, also after a killed erasure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa
from pydantic import ValidationError

from airflow_mlsec.anonymize import Finding, tells_persons, verify_release
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Dataset, keeps_writers_apart
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.ledger import Check, Reason, ReleaseStatement
from airflow_mlsec.lineage import policy_of, record_removal, releases
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, sole_writer, upsert
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person, Targets, is_sealed_text, sealed_text
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._changes import reseal
from airflow_mlsec.subjects.requests._request import Request, targets_of
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._search import EARLIER_LEFT, Searcher


def renew_evidence(
    register: Register,
    keys: KeyRing,
    before: ReleaseStatement,
    place: Place,
    dataset: Dataset,
    left: Mapping[str, int | None],
    request: int,
) -> list[Reason]:
    """Check a release from which rows were removed, and store the result as its evidence; returns the guarantees
    that no longer hold. Does nothing if it did not change, was released again since ``before`` (its newest
    statement), or is not one of the files (SHA-256) that were ``left``."""
    stated = before.target.sha256
    digest = dataset.digest()
    if digest is not None and digest not in left:
        return []
    counted = _Counted(dataset.scan())
    findings = _check(register, before, dataset, counted)
    if dataset.digest() != digest:
        return []  # another erasure continues with it and records what it has left
    if stated is None and counted.rows == before.numbers.released:
        return []
    checks = tuple(Check(check=f.check, passed=f.passed, detail=f.detail) for f in findings)
    # The rows may have been erased for another request than the one that now gives the evidence.
    of = request if digest is None else left[digest] or request
    # Erased people may have made a class smaller; what was not counted now is no longer known.
    sizes = [f.figure for f in findings if f.figure is not None]
    smallest = int(min(sizes)) if sizes and all(f.passed for f in findings) else None
    left_over = counted.rows, smallest
    record_removal(register, keys, place.id, digest, before, left_over, checks, of)
    failed = tuple(f"{f.check} ({f.detail})" for f in findings if not f.passed and f.known)
    unknown = tuple(f"{f.check} ({f.detail})" for f in findings if not f.passed and not f.known)
    said: list[Reason] = [reasons.GuaranteeBroken(failed)] if failed else []
    return [*said, reasons.GuaranteeUnknown(unknown)] if unknown else said


def _check(
    register: Register, before: ReleaseStatement, dataset: Dataset, rows: _Counted
) -> list[Finding]:
    document = policy_of(register, before.policy)
    try:
        if document is None:
            raise ValueError
        policy = Policy.model_validate(document)
        # Erasing removes people; it gives nobody more rows.
        people: Literal["one row each"] | None = None
        numbers = before.numbers
        if numbers.persons and numbers.persons == numbers.released:
            people = "one row each"
        carried = tells_persons(policy, numbers.persons_in_several_spellings)
        return verify_release(policy, dataset.schema(), rows, people=people, carried=carried)
    except (ValidationError, ValueError, MlsecError) as error:
        for _ in rows:
            pass
        detail = f"could not be checked ({type(error).__name__})"
        return [Finding("the policy's guarantees", False, detail)]


class _Counted:
    """Batches whose rows are counted as they are read."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


_WHAT = "file left of a release"
# How long an erasure waits for another one that rewrites the same release, in seconds.
_PATIENCE = 300.0


@contextlib.contextmanager
def one_at_a_time(work: Work, place: Place, patience: float = _PATIENCE) -> Iterator[None]:
    """Be the only one that rewrites a place and, if it is a release, gives it its evidence.

    :raises ChangedMeanwhile: if another process still does so after ``patience`` seconds.
    """
    release = place.stage == "release"
    apart, waits = keeps_writers_apart(place.uri), patience if release else 0
    with sole_writer(work.register, place.uri or "", apart, release, waits):
        yield


def keep_left(work: Work, request: Request, place: Place, searcher: Searcher, digest: str) -> None:
    """Record the file that an erasure is about to leave as a release, if it erased from that release or from what
    another erasure has left of it. Until there is evidence, nothing else distinguishes it from a foreign file."""
    newest = _newest(work, place.id)
    if newest is None:
        return
    stated, at = newest.target.sha256, newest.issued_at
    if stated is None or not is_ours(work, searcher, place):
        return
    _keep(work, place.id, digest, at, request.id)


def _take_over(work: Work, request: Request, known: Targets | None) -> None:
    """Move to the register what an earlier version sealed with a request: the files it has left."""
    if not known or not known.get(EARLIER_LEFT):
        return
    for dataset, digest, *at in known[EARLIER_LEFT]:
        if at:
            _keep(work, dataset, digest, at[0], request.id)

    def without(whom: Person, sealed: Targets | None) -> tuple[Person, Targets | None]:
        return whom, {k: v for k, v in (sealed or {}).items() if k != EARLIER_LEFT}

    reseal(work.register, work.keys, request.id, without)


def _keep(work: Work, dataset: int, digest: str, evidence_at: str, request: int) -> None:
    text = _text_of(dataset, digest, evidence_at, request)
    values = {"seal": sealed_text(work.keys, _WHAT, text), "request_id": request}
    key = {"dataset_id": dataset, "sha256": digest, "evidence_at": evidence_at}
    work.register.write(lambda c: upsert(c, t.left, key, values))


def _text_of(dataset: int, digest: str, evidence_at: str, request: int | None) -> str:
    return f"{dataset}\0{digest}\0{evidence_at}\0{request or ''}"


def _drop(work: Work, which: sa.ColumnElement[bool]) -> None:
    work.register.write(lambda c: c.execute(sa.delete(t.left).where(which)))


def _newest(work: Work, dataset: int) -> ReleaseStatement | None:
    """The newest evidence of a dataset as a release."""
    found = work.register.read(releases).get(dataset)
    return found[-1] if found else None


def _left(work: Work, dataset: int, evidence_at: str) -> dict[str, int | None]:
    """The digests of the files that erasures have left of the release whose evidence was issued at this time, with the
    request of each."""
    x = t.left.c
    query = sa.select(x.sha256, x.seal, x.request_id).where(
        x.dataset_id == dataset, x.evidence_at == evidence_at
    )
    return {
        row.sha256: row.request_id
        for row in work.register.rows(query)
        if is_sealed_text(
            work.keys,
            _WHAT,
            _text_of(dataset, row.sha256, evidence_at, row.request_id),
            row.seal,
        )
    }


def renew_after_erasing(
    work: Work, request: Request, searcher: Searcher, place: Place
) -> list[Reason]:
    """Give evidence to a release that erasures have left: see `renew_evidence`. No other process erases from it
    meanwhile (`one_at_a_time`)."""
    newest = _newest(work, place.id)
    if place.stage != "release" or newest is None:
        return []
    left = _left(work, place.id, newest.issued_at)
    opened = searcher.open(place)
    with work.own_evidence():
        broken = renew_evidence(work.register, work.keys, newest, place, opened, left, request.id)
    if _newest(work, place.id) != newest:
        at = t.left.c.evidence_at == newest.issued_at
        _drop(work, sa.and_(t.left.c.dataset_id == place.id, at))
    return broken


def say_what_was_left(work: Work, request: Request, person: Person) -> None:
    """Give files of releases the evidence that a killed erasure did not give them."""
    known = targets_of(work.register, work.keys, request)
    _take_over(work, request, known)
    query = sa.select(t.left.c.dataset_id, t.left.c.evidence_at)
    waiting = {row.dataset_id for row in work.register.rows(query)}
    if not waiting:
        return
    places = work.places(person)
    searcher = work.searcher(person, places, known)
    for place in places.all:
        if place.id not in waiting:
            continue
        newest = _newest(work, place.id)
        # Releases that were rebuilt, or have their evidence, need no record any more.
        over = t.left.c.dataset_id == place.id
        if newest is not None:
            over = sa.and_(over, t.left.c.evidence_at != newest.issued_at)
        _drop(work, over)
        # Locating reports what cannot be read; a process still rewriting it gives the evidence.
        with contextlib.suppress(MlsecError), one_at_a_time(work, place, patience=0):
            if searcher.changed_since_release(place):
                renew_after_erasing(work, request, searcher, place)


def is_ours(work: Work, searcher: Searcher, place: Place) -> bool:
    """Whether a release's file matches its evidence, or was left by an erasure that has not given it its evidence yet.
    Any other file gets no new evidence by being erased from. True for what is not a release, or not a single file."""
    newest = _newest(work, place.id)
    stated = newest.target.sha256 if newest else None
    if newest is None or stated is None:
        return True
    digest = searcher.open(place).digest()
    return digest == stated or digest in _left(work, place.id, newest.issued_at)
