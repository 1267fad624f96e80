"""Finding the person everywhere, for a request."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlsec.subjects._identity import (
    Person,
)
from airflow_mlsec.subjects.handling._rebuilt import settle_rebuilt
from airflow_mlsec.subjects.handling._releases import say_what_was_left
from airflow_mlsec.subjects.handling._targets import worked_out
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._location import record_location
from airflow_mlsec.subjects.requests._request import NO_FILES, Request, Step, get_request, person_of
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import Location, search_everywhere
from airflow_mlsec.subjects.search._scan import Scanner


def locate(work: Work, identifier: int) -> Request:
    """Find the person everywhere and write it into the ledger."""
    request = get_request(work.register, identifier)
    person = person_of(work.register, work.keys, request)
    say_what_was_left(work, request, person)
    location = search_everywhere(
        work.register,
        work.keys,
        person,
        work.roots,
        work.connections,
        work.progress,
        # If a parent is gone, only what was computed before leads to its children.
        worked_out(work, request, work.places(person)),
        work.scan,
    )
    location = _with_what_was_found(work, request, person, location)
    record_location(work.register, identifier, location, work.who, request)
    return settle_rebuilt(work.register, identifier, work.who)


def look(work: Work, identifier: int) -> Request:
    """What `locate` would find, without writing anything."""
    request = get_request(work.register, identifier)
    person = person_of(work.register, work.keys, request)
    location = search_everywhere(
        work.register, work.keys, person, work.roots, work.connections, work.progress,
        scan=work.scan,
    )  # fmt: skip
    steps = tuple(_as_step(f) for f in location.findings)
    return replace(request, steps=steps)


def _with_what_was_found(
    work: Work, request: Request, person: Person, location: Location
) -> Location:
    """Adds the current state of files that an earlier scan found and this one did not."""
    told = {finding.dataset for finding in location.findings}
    gone = [
        step
        for step in request.steps
        if step.dataset_id is None and step.kind not in NO_FILES and step.name not in told
    ]
    if not gone:
        return location
    scanner = Scanner(work.searcher(person, work.places(person)).widened(), work.scan)
    now = tuple(scanner.file(step.name) for step in gone)
    return replace(location, findings=(*location.findings, *now))


def _as_step(found: Finding) -> Step:
    return Step(
        0, found.kind, found.dataset, found.dataset_id, found.status, found.rows, found.found_by,
        found.reasons, 0, "", likeness=found.likeness, free_text=found.free_text,
    )  # fmt: skip
