"""Places that were rebuilt by their own DAGs after their sources had been dealt with.

Nothing can be erased from a model, an average or a copy without a key: it has to be rebuilt.
Lineage shows whether it was: a run began after the last of its sources was dealt with, completed,
and replaced it as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage import RELEASE
from airflow_mlsec.register import Register, likely_kind
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.requests._changes import set_step
from airflow_mlsec.subjects.requests._request import ANSWERING, Request, Step, get_request
from airflow_mlsec.subjects.search._places import Place, Places, find_places

# A source in one of these states no longer has the person's old data; a retained one has.
_DEALT_WITH = ("erased", "rectified", "none")
# Files that programs append to; others are written as a whole.
_GROWING = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".log", ".avro", ".db", ".sqlite", ".zip")


# How long a run whose end was not reported may have been running.
_LONGEST = timedelta(days=1)


@dataclass(frozen=True)
class _Run:
    id: int
    uuid: str
    ended: str


def settle_rebuilt(register: Register, identifier: int, by: str) -> Request:
    """Settle the places of a request that were rebuilt; returns the request."""
    request = get_request(register, identifier)
    waiting = [s for s in request.open_steps() if s.status in ("found", "unknown") and s.dataset_id]
    waiting += [s for s in request.steps if s.status == "rebuilt" and s.decided_by is None]
    if request.kind in ANSWERING or request.closed_at or not waiting:
        return request
    now = register.now()

    def work(connection: sa.Connection) -> None:
        places = find_places(connection, request.subject_kind)
        mark_rebuilt(connection, request, places, by, now)

    register.write(work)
    return get_request(register, identifier)


def mark_rebuilt(
    connection: sa.Connection, request: Request, places: Places, by: str, now: str
) -> None:
    """Settle the places that were rebuilt. Reopen those that were since then rebuilt again from data that may have the
    person, or whose sources had the person again."""
    steps = {step.dataset_id: step for step in request.steps}
    rebuilt: dict[int, _Run] = {}
    # Places that others were made from come first: they have fewer sources.
    for place in sorted(places.all, key=lambda p: len(p.sources)):
        step = steps.get(place.id)
        if step is None or step.status not in ("found", "unknown", "none by scan", "rebuilt"):
            continue
        if step.status == "rebuilt" and step.decided_by is not None:
            continue
        run = _last_clean(connection, request, place, places, steps, rebuilt)
        if run is None:
            if step.status == "rebuilt":
                again = [reasons.MadeAnewSince()]
                set_step(connection, request.id, step, by, now, "unknown", again)
                steps[place.id] = replace(step, status="unknown")
            continue
        rebuilt[place.id] = run
        if step.status != "rebuilt":
            anew = [reasons.MadeAnew(run.uuid)]
            set_step(connection, request.id, step, by, now, "rebuilt", anew)


def _last_clean(
    connection: sa.Connection,
    request: Request,
    place: Place,
    places: Places,
    steps: Mapping[int | None, Step],
    rebuilt: Mapping[int, _Run],
) -> _Run | None:
    """The run that rebuilt a place, if no run has since written it from data that may have the person."""
    parents = [i for i in place.parents if i in steps]
    # A release that was announced before may still appear.
    if place.locators or place.intended or not parents:
        return None

    def is_clean(identifier: int) -> bool:
        step = steps[identifier]
        if step.status == "same":
            meant = places.by_id(identifier).same_as
            return meant is not None and meant in steps and is_clean(meant)
        by_hand = step.status in ("rebuilt", "manual") and step.decided_by is not None
        return identifier in rebuilt or by_hand or step.status in _DEALT_WITH

    if not all(map(is_clean, parents)):
        return None
    moments = [_clean_since(connection, request, steps[i], places, rebuilt.get(i)) for i in parents]
    # By clock, and by the order in which the register learnt of them: clocks may be ahead or be set.
    since, after = max(m[0] for m in moments), max(m[1] for m in moments)
    clean = {i for i in steps if i and is_clean(i)}
    return _made_anew(connection, place, since, after, clean)


def _clean_since(
    connection: sa.Connection, request: Request, step: Step, places: Places, run: _Run | None
) -> tuple[str, int]:
    """Since when a source has no data of the person any more, and the last run that was known then."""
    if run is not None:
        return run.ended, run.id
    released = places.releases.get(step.dataset_id or 0)
    if step.status == "none" and released:
        e, s = t.evidence.c, t.suppression.c
        # An announced release is not there yet: a run that reads then reads the earlier release.
        query = sa.select(e.id, e.issued_at, e.published_at, e.published_after_run).where(
            e.dataset_id == step.dataset_id, e.predicate_type == RELEASE, e.outcome == "published"
        )
        listed = sa.select(sa.func.min(s.after_evidence)).where(s.request_id == request.id)
        since = connection.execute(listed).scalar_one()
        rows = connection.execute(query.order_by(e.id)).all()
        if first := _first_without(rows, since, step.changed_at):
            return first.published_at or first.issued_at, first.published_after_run or 0
    return step.changed_at, step.after_run or 0


def _first_without(releases: Sequence[Any], listed: int | None, none_since: str) -> Any:
    """The first release since which all are without the person: the one that was there when a look found nothing and
    the person was listed, or else the first that was announced after that. The newest, if that time is not known."""
    if listed is None:
        return releases[-1] if releases else None
    before = [row for row in releases if row.id <= listed]
    after = [row for row in releases if row.id > listed]
    if before:
        there = (before[-1].published_at or before[-1].issued_at) <= none_since
        if there and all(none_since < (row.published_at or row.issued_at) for row in after[:1]):
            return before[-1]
    return after[0] if after else releases[-1] if releases else None


def _made_anew(
    connection: sa.Connection, place: Place, since: str, after: int, clean: Collection[int]
) -> _Run | None:
    """The first run that rebuilt the place without the person. It began after ``since`` and became known after the run
    numbered ``after``. It made the whole place from its sources, and from nothing that may still have the person: not
    from its own old content, a place that is not ``clean``, or a model or other artifact that nobody has described (a
    checkpoint). No other run that does not meet this may have written the place later or at the same time. Rebuilding
    it again in the same way changes nothing."""
    r, d = t.run.c, t.run_dataset.c
    given = t.run_dataset.alias()
    read = sa.select(given.c.run_id).where(
        given.c.direction == "input", given.c.dataset_id.in_(sorted(place.parents))
    )
    query = (
        sa.select(r.id, r.uuid, r.state, r.started_at, r.ended_at, r.id.in_(read).label("reads"))
        .join(t.run_dataset, d.run_id == r.id)
        .where(d.dataset_id == place.id, d.direction == "output")
        .order_by(r.ended_at, r.id)
    )
    writers = connection.execute(query).all()
    writers = [*writers, *_not_ended(connection, place, {w.id for w in writers})]
    # What our own operators record has no start time, only one moment.
    later = [w for w in writers if w.id > after and (w.started_at or w.ended_at or "") > since]
    clean_writers = {w.id for w in later if _reads_clean(connection, w.id, place, clean)}
    whole = place.kind != "table" or _is_whole_file(place)
    made = [
        w
        for w in later
        if w.id in clean_writers and w.reads and w.state == "complete"
        if w.started_at is not None and w.ended_at is not None
        if whole or _replaced(connection, place, w.started_at, w.ended_at)
    ]
    others = [w for w in writers if w.id not in clean_writers]
    for run in made:
        if not any(_may_be_later(other, run) for other in others):
            return _Run(run.id, run.uuid, run.ended_at)
    return None


def _not_ended(connection: sa.Connection, place: Place, known: Collection[int]) -> list[Any]:
    """Runs, of jobs that have written a place before, whose end and outputs were not reported."""
    r, d = t.run.c, t.run_dataset.c
    jobs = (
        sa.select(r.job_id)
        .join(t.run_dataset, d.run_id == r.id)
        .where(d.dataset_id == place.id, d.direction == "output", r.job_id.is_not(None))
    )
    told = sa.select(d.run_id).where(d.direction == "output")
    query = sa.select(
        r.id, r.uuid, r.state, r.started_at, r.ended_at, sa.false().label("reads")
    ).where(r.job_id.in_(jobs), r.ended_at.is_(None), r.id.not_in(told))
    return [row for row in connection.execute(query) if row.id not in known]


def _may_be_later(writer: Any, run: Any) -> bool:
    """Whether one run may have written after another began. A run whose end was not reported is assumed to run for at
    most a day."""
    if writer.ended_at is not None:
        return bool(writer.ended_at >= run.started_at or writer.id > run.id)
    began = datetime.fromisoformat(writer.started_at or run.started_at)
    return writer.id > run.id or began > datetime.fromisoformat(run.started_at) - _LONGEST


def _reads_clean(connection: sa.Connection, run: int, place: Place, clean: Collection[int]) -> bool:
    d, x = t.run_dataset.c, t.dataset.c
    query = (
        sa.select(x.id, x.kind, x.policy_digest, x.namespace, x.name)
        .join(t.run_dataset, d.dataset_id == x.id)
        .where(d.run_id == run, d.direction == "input")
    )
    read = connection.execute(query).all()
    if not read:
        return False  # its inputs are not known
    for row in read:
        if row.id == place.id:
            return False
        if row.id in clean:
            continue
        if row.id in place.sources or row.id in place.parents:
            return False
        kind = likely_kind(row.namespace, row.name)
        if row.policy_digest is None and not {row.kind, kind} <= {"table"}:
            return False
    return True


def _is_whole_file(place: Place) -> bool:
    """Whether it is a single file on this machine, of a kind that is written as a whole. Elsewhere,
    a place with a file's name may be a folder that grows."""
    path = Path(place.name)
    return path.suffix.lower() not in ("", *_GROWING) and path.is_file()


def _replaced(connection: sa.Connection, place: Place, start: str, end: str) -> bool:
    """Whether a table was replaced, not only written to, between two moments."""
    life, e = t.lifecycle.c, t.evidence.c
    changes = sa.select(life.at).where(
        life.dataset_id == place.id,
        life.change.in_(("OVERWRITE", "CREATE")),
        life.at.between(start, end),
    )
    stated = sa.select(e.issued_at).where(e.dataset_id == place.id, e.issued_at.between(start, end))
    return connection.execute(sa.union_all(changes, stated).limit(1)).first() is not None
