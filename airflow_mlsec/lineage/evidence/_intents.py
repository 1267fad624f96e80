"""Releases and encrypted artifacts that were recorded, but not reported as published.

The process was killed, or the register refused, between the two steps. Inspecting the target
settles it: the file is the one that was announced, or it is not and the process that was to
publish it has ended. In any other case the intent stays open, and the place unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from airflow_mlsec import files
from airflow_mlsec.actors import Actor, operating_system_actor
from airflow_mlsec.crypto import digest_stream
from airflow_mlsec.datasets import Connections, local_path, open_artifact, open_dataset
from airflow_mlsec.errors import DatasetError, MlsecError, UsageError
from airflow_mlsec.ledger import DEPLOYMENT, Reason, ReleaseStatement, Verb, require
from airflow_mlsec.lineage import reasons as why
from airflow_mlsec.lineage.evidence._evidence import (
    ARTIFACT,
    INTENDED,
    PUBLISHED,
    SUPERSEDED,
    WITHDRAWN,
    Evidence,
    believed,
    moved,
    note_outcome,
    trusted_by,
)
from airflow_mlsec.processes import has_ended, is_seen_from_here
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t

# Longest time from recording to publishing, on a machine that cannot be observed from here.
_LONGEST, _AFTER_ANOTHER_TRY = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class OpenIntent:
    """A release that may or may not have been published, and the result of inspecting it."""

    id: int
    dataset_id: int
    uri: str | None
    begun_at: str
    outcome: str
    reason: Reason


@keeps_open
def settle_intents(register: Register, connections: Connections | None = None) -> list[OpenIntent]:
    """Inspect the target of every open intent and settle those where that gives an answer; returns all of
    them, with their outcomes now."""
    return [_settle(register, row, connections) for row in register.rows(_open())]


def intended(connection: sa.Connection) -> set[int]:
    """Datasets to which a release was going to be published, and it is not known whether it was."""
    e = t.evidence.c
    query = sa.select(e.dataset_id).where(e.outcome == INTENDED)
    return set(connection.execute(query).scalars())


def intent_of(register: Register, uris: Sequence[str], since: str) -> str | None:
    """What became of the newest release or artifact that was recorded for a target since then: ``intended`` (also if it
    was recorded before: nobody knows yet), ``published``, ``withdrawn``, ``superseded``; None if there is none.

    :param uris: How the target may be named.
    :raises RegisterError: if the register cannot be read.
    """
    e, d = t.evidence.c, t.dataset.c
    query = sa.select(e.outcome, e.recorded_at).join(t.dataset, d.id == e.dataset_id)
    rows = register.rows(query.where(d.uri.in_(list(uris))).order_by(e.id))
    if any(row.outcome == INTENDED for row in rows):
        return INTENDED
    recent = [row.outcome for row in rows if row.recorded_at >= since]
    return recent[-1] if recent else None


def never_published(connection: sa.Connection) -> dict[int, tuple[str, str]]:
    """Datasets whose every release or artifact was withdrawn: ("withdrawn", when the last one was recorded)."""
    e = t.evidence.c
    query = sa.select(e.dataset_id, e.outcome, e.recorded_at)
    found: dict[int, tuple[str, str]] = {}
    others: set[int] = set()
    for dataset, outcome, at in connection.execute(query.order_by(e.id)):
        if outcome == WITHDRAWN:
            found[dataset] = WITHDRAWN, at
        else:
            others.add(dataset)
    return {dataset: said for dataset, said in found.items() if dataset not in others}


def withdraw_intent(register: Register, identifier: int, by: Actor) -> None:
    """Record that a person has verified that a release was not, and will not be, published.

    :raises Refused: if the actor may not decide about places.
    :raises UsageError: if no release of this number is open.
    """
    who = require(register, by, Verb.SETTLE, DEPLOYMENT).who
    _settled_by_hand(register, identifier, WITHDRAWN, who)


def confirm_intent(register: Register, identifier: int, by: Actor) -> None:
    """Record that a person has verified that a release was published, and is there.

    :raises Refused: if the actor may not decide about places.
    :raises UsageError: if no release of this number is open.
    """
    who = require(register, by, Verb.SETTLE, DEPLOYMENT).who
    _settled_by_hand(register, identifier, PUBLISHED, who)


def _open() -> sa.Select[Any]:
    e, d = t.evidence.c, t.dataset.c
    query = sa.select(
        e.id,
        e.dataset_id,
        e.envelope,
        e.writer,
        e.recorded_at,
        e.predicate_type,
        d.uri,
        d.namespace,
        d.name,
    )
    joined = query.join(t.dataset, d.id == e.dataset_id)
    return joined.where(e.outcome == INTENDED).order_by(e.id)


def _settle(register: Register, row: Any, connections: Connections | None) -> OpenIntent:
    outcome, reason = _look(register, row, connections)
    if outcome != INTENDED:
        _mark(register, row.id, outcome, reason, str(operating_system_actor()))
    return OpenIntent(row.id, row.dataset_id, row.uri, row.recorded_at, outcome, reason)


def _look(register: Register, row: Any, connections: Connections | None) -> tuple[str, Reason]:
    statement = register.read(lambda c: believed(row.envelope, trusted_by(c)))
    if statement is None:
        return INTENDED, why.SignedByNobodyTrusted()
    e = t.evidence.c
    later = e.id > row.id, e.outcome == PUBLISHED
    over = _is_over(register, row, statement, later)
    try:
        there, found = _there(row, connections)
    except MlsecError as error:
        return INTENDED, why.TargetUnreadable(str(error))
    announced = _digest_of(statement)
    if announced is not None and found == announced:
        others = () if over else _statements(register, row, e.id != row.id, e.outcome != WITHDRAWN)
        if announced in map(_digest_of, others):
            # The same rows and the same plan give the same bytes: they may be another release's.
            return INTENDED, why.SameAsAnother()
        return PUBLISHED, why.AnnouncedFileThere()
    if not over:
        return INTENDED, why.MayStillRun()
    _remove_staged(row.uri)
    if not there and not _is_any(register, row, e.id != row.id, e.outcome != WITHDRAWN):
        return WITHDRAWN, why.NeverAppeared()
    if announced is None and there and not _is_any(register, row, *later):
        # Rows of a table do not show which release they belong to.
        return INTENDED, why.TableTellsNothing()
    # Nobody can tell whether it was there for a while in between, even if what was there before is there now.
    return SUPERSEDED, why.OtherThere()


def _is_any(register: Register, row: Any, *which: sa.ColumnElement[bool]) -> bool:
    """Whether there is evidence of the same kind about the same dataset that meets ``which``."""
    e = t.evidence.c
    alike = e.dataset_id == row.dataset_id, e.predicate_type == row.predicate_type
    return bool(register.rows(sa.select(e.id).where(*alike, *which).limit(1)))


def _statements(register: Register, row: Any, *which: sa.ColumnElement[bool]) -> list[Evidence]:
    e = t.evidence.c
    alike = e.dataset_id == row.dataset_id, e.predicate_type == row.predicate_type
    query = sa.select(e.envelope).where(*alike, *which).order_by(e.id)

    def work(connection: sa.Connection) -> list[Evidence]:
        trusted = trusted_by(connection)
        found = (believed(x, trusted) for x in connection.execute(query).scalars())
        return [statement for statement in found if statement is not None]

    return register.read(work)


def _is_over(
    register: Register,
    row: Any,
    statement: Evidence,
    later: Sequence[sa.ColumnElement[bool]],
) -> bool:
    """Whether the process that was to publish it has ended. A process on this machine is checked directly. For one
    elsewhere, another try of the same task shows it, since Airflow retries what has ended; but not at once, since
    Airflow assumes that a process that does not answer is dead. The passing of a day shows it as well."""
    if row.writer and is_seen_from_here(row.writer):
        return has_ended(row.writer)
    run = statement.predicate.run
    found = _statements(register, row, *later) if run is not None else []
    again = any(x.predicate.run == run and not _removes_rows(x) for x in found)
    return register.now() > moved(row.recorded_at, _AFTER_ANOTHER_TRY if again else _LONGEST)


def _there(row: Any, connections: Connections | None) -> tuple[bool, str | None]:
    """Whether anything exists where a release or an artifact was going to be, and its digest, if it is a file."""
    if row.predicate_type == ARTIFACT:
        artifact = open_artifact(row.uri, connections)
        if not artifact.exists():
            return False, None
        with artifact.open() as file:
            return True, digest_stream(file)
    if (path := local_path(row.uri)) is not None and not path.parent.is_dir():
        # Another machine may have it: a folder missing here says nothing about what is in it.
        raise DatasetError("its folder does not exist here")
    dataset = open_dataset(row.uri, connections)
    return dataset.exists(), dataset.digest()


def _remove_staged(uri: str | None) -> None:
    """Remove what an ended process left staged next to a file: rows that nobody knows of."""
    path = None if uri is None else local_path(uri)
    if path is not None and path.parent.is_dir():
        files.remove_abandoned(path)


def _digest_of(statement: Evidence) -> str | None:
    """The SHA-256 of the file that a statement is about, if it is about a file."""
    said = statement.predicate
    if isinstance(said, ReleaseStatement):
        return said.target.sha256
    return next(iter(statement.subjects.values()))


def _removes_rows(statement: Evidence) -> bool:
    """Whether it is about a release that lost rows to a request, which is not a new release."""
    said = statement.predicate
    return isinstance(said, ReleaseStatement) and said.removed_by_request is not None


def _settled_by_hand(register: Register, identifier: int, outcome: str, who: str) -> None:
    if not _mark(register, identifier, outcome, why.SaidByAPerson(), who):
        raise UsageError(
            f"no release or artifact {identifier} is open (mlsec db reconcile lists them)"
        )


def _mark(register: Register, identifier: int, outcome: str, reason: Reason, who: str) -> int:
    """Record an outcome, if none is known yet; returns for how many."""
    mine = t.evidence.c.id == identifier
    now = register.now()
    return register.write(lambda c: note_outcome(c, mine, outcome, reason, who, now))
