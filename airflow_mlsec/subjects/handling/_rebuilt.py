"""Places that were made anew, by their own DAGs, after their sources had been dealt with.

A model, an average, a copy without a key cannot be erased from: it has to be made again. That
it was is read from lineage: a run began after the last of its sources was done with, completed,
and replaced it as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from airflow_mlsec.register import Register, likely_kind
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects.requests._requests import (
    ANSWERING,
    Request,
    Step,
    get_request,
    note,
    set_step,
)
from airflow_mlsec.subjects.search._places import Place, Places, find_places

# A source in one of these states has nothing of the person as it was. One that is retained has.
_CLEAN = ("erased", "rectified", "none", "rebuilt")
# Files that programs add to; others are written as a whole.
_GROWING = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".log", ".avro", ".db", ".sqlite", ".zip")


@dataclass(frozen=True)
class _Run:
    id: int
    uuid: str
    ended: str


def settle_rebuilt(register: Register, identifier: int, by: str) -> Request:
    """Settle the places of a request that were made anew; the request."""
    request = get_request(register, identifier)
    waiting = [s for s in request.open_steps() if s.status in ("found", "unknown") and s.dataset_id]
    if request.kind in ANSWERING or request.closed_at or not waiting:
        return request
    now = register.now()

    def work(connection: sa.Connection) -> list[str]:
        places = find_places(connection, request.subject_kind)
        return mark_rebuilt(connection, request, places, now)

    for name in register.write(work):
        note(register, identifier, by, f"{name}: rebuilt")
    return get_request(register, identifier)


def mark_rebuilt(
    connection: sa.Connection, request: Request, places: Places, now: str
) -> list[str]:
    """Settle the places that were made anew; their names."""
    steps = {step.dataset_id: step for step in request.steps}
    rebuilt: dict[int, _Run] = {}
    names = []
    # What others were made from comes first: it has fewer sources than they.
    for place in sorted(places.all, key=lambda p: len(p.sources)):
        step = steps.get(place.id)
        parents = [i for i in place.parents if i in steps]
        if step is None or place.locators or not parents:
            continue
        if step.status not in ("found", "unknown", "none by scan", "rebuilt"):
            continue
        if not all(steps[i].status in _CLEAN or i in rebuilt for i in parents):
            continue
        moments = [_clean_since(connection, steps[i], places, rebuilt.get(i)) for i in parents]
        # By the clocks, and by the order in which the register learnt of them: clocks are ahead, and may be set.
        since, after = max(m[0] for m in moments), max(m[1] for m in moments)
        clean = {i for i, s in steps.items() if i and (s.status in _CLEAN or i in rebuilt)}
        run = _made_anew(connection, place, since, after, clean)
        if run is None:
            continue
        rebuilt[place.id] = run
        if step.status != "rebuilt":
            detail = f"made anew by run {run.uuid}, which began after its sources were dealt with"
            set_step(connection, step.id, now, status="rebuilt", detail=detail)
            names.append(step.name)
    return names


def _clean_since(
    connection: sa.Connection, step: Step, places: Places, run: _Run | None
) -> tuple[str, int]:
    """Since when a source has nothing of the person any more, and the last run that was known then."""
    if run is not None:
        return run.ended, run.id
    released = places.releases.get(step.dataset_id or 0)
    if step.status == "none" and released:
        e = t.evidence.c
        newest = sa.select(e.issued_at, e.published_at, e.published_after_run).where(
            e.dataset_id == step.dataset_id, e.issued_at == released[-1]["issued_at"]
        )
        # Announced it is not there yet, and what reads it then reads the release from before.
        row = connection.execute(newest).first()
        if row is not None:
            return row.published_at or row.issued_at, row.published_after_run or 0
    return step.changed_at, step.after_run or 0


def _made_anew(
    connection: sa.Connection, place: Place, since: str, after: int, clean: Collection[int]
) -> _Run | None:
    """The first run after ``since``, and after that of number ``after`` was known, that made all of a place from its sources, and from nothing that may have
    the person still: not from itself as it was, from a place that is not ``clean``, or from a model or another
    artifact of which nobody has said anything (a checkpoint)."""
    r, d = t.run.c, t.run_dataset.c
    given = t.run_dataset.alias()
    read = sa.select(given.c.run_id).where(
        given.c.direction == "input", given.c.dataset_id.in_(sorted(place.parents))
    )
    query = (
        sa.select(r.id, r.uuid, r.started_at, r.ended_at)
        .join(t.run_dataset, d.run_id == r.id)
        .where(d.dataset_id == place.id, d.direction == "output", r.id.in_(read))
        .where(r.state == "complete", r.started_at > since, r.ended_at.is_not(None))
        .where(r.id > after)
        .order_by(r.ended_at, r.uuid)
    )
    for row in connection.execute(query).all():
        if not _reads_clean(connection, row.id, place, clean):
            continue
        whole = place.kind != "table" or _is_whole_file(place)
        if whole or _replaced(connection, place, row.started_at, row.ended_at):
            return _Run(row.id, row.uuid, row.ended_at)
    return None


def _reads_clean(connection: sa.Connection, run: int, place: Place, clean: Collection[int]) -> bool:
    d, x = t.run_dataset.c, t.dataset.c
    query = (
        sa.select(x.id, x.kind, x.policy_digest, x.namespace, x.name)
        .join(t.run_dataset, d.dataset_id == x.id)
        .where(d.run_id == run, d.direction == "input")
    )
    for row in connection.execute(query):
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
    """Whether it is one file on this machine, of a kind that is written as a whole. What has a file's
    name elsewhere may be a folder that grows."""
    path = Path(place.name)
    return path.suffix.lower() not in ("", *_GROWING) and path.is_file()


def _replaced(connection: sa.Connection, place: Place, start: str, end: str) -> bool:
    """Whether a table was replaced between two moments, and not only written to."""
    life, e = t.lifecycle.c, t.evidence.c
    changes = sa.select(life.at).where(
        life.dataset_id == place.id,
        life.change.in_(("OVERWRITE", "CREATE")),
        life.at.between(start, end),
    )
    stated = sa.select(e.issued_at).where(e.dataset_id == place.id, e.issued_at.between(start, end))
    return connection.execute(sa.union_all(changes, stated).limit(1)).first() is not None
