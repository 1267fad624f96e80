"""Erasing one person, place by place, so that it can be resumed after a crash at any point.

Order: legal holds, suppression list, then every place, children before the tables that they
refer to. Everything that will be erased is computed before anything is deleted, and kept sealed
with the request, since a foreign key can no longer be followed when the parent is gone. Each place
is erased completely or not at all, and erasing is idempotent; the ledger says what was being done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import Announce
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    MlsecError,
    Refused,
    UsageError,
)
from airflow_mlsec.ledger import Reason, has, in_words
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._suppression import listed_as, suppress
from airflow_mlsec.subjects.handling._recipients import (
    add_recipients,
    notify,
)
from airflow_mlsec.subjects.handling._releases import (
    is_ours,
    keep_left,
    one_at_a_time,
    renew_after_erasing,
)
from airflow_mlsec.subjects.handling._targets import seal_targets
from airflow_mlsec.subjects.handling._work import (
    DECIDED,
    Work,
    require_erasure,
    settled_by_hand,
)
from airflow_mlsec.subjects.requests._approval import covers, take_back
from airflow_mlsec.subjects.requests._changes import change, write_step
from airflow_mlsec.subjects.requests._request import (
    ERASING,
    Request,
    Step,
    get_request,
    person_of,
    targets_of,
)
from airflow_mlsec.subjects.search._airflow import ERASABLE
from airflow_mlsec.subjects.search._copies import in_database, in_hard_links, in_old_versions
from airflow_mlsec.subjects.search._places import Place, Places
from airflow_mlsec.subjects.search._reasons import IsView
from airflow_mlsec.subjects.search._search import (
    Searcher,
)

_TODO = ("found", "erasing", "failed")


def erase(work: Work, identifier: int) -> Request:
    """Erase the person wherever the ledger says that they were found.

    A place that cannot be erased is marked failed and keeps the request open; the others are
    erased.

    :raises Refused: if the request is not one of erasure, or not approved.
    """
    request = prepare(work, identifier)
    for step in order(work, request):
        erase_place(work, identifier, step.id)
    return notify(work, identifier)


def prepare(work: Work, identifier: int) -> Request:
    """Prepare an erasure before anything is deleted: targets, legal holds, suppression list.

    :raises Refused: if the request is not one of erasure, or not approved.
    """
    request = get_request(work.register, identifier)
    require_erasure(work, request)
    person = person_of(work.register, work.keys, request)
    places = work.places(person)
    searcher = work.searcher(person, places)
    searcher.require_one_person(settled_by_hand(request))
    seal_targets(work, request, searcher)
    reopen_what_nothing_keeps(work, request)
    work.register.write(lambda c: add_recipients(c, request, places.all, work.register.now()))
    _suppress(work, identifier, searcher)
    return change(
        work.register, identifier, work.who, reasons.ErasureBegun(), {"status": "erasing"}
    )


def put_on_list(work: Work, request: Request) -> None:
    """Put the person on the suppression list, using what is known now."""
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request)
    searcher = work.searcher(person, work.places(person), known)
    searcher.require_one_person(settled_by_hand(request))
    _suppress(work, request.id, searcher)


def _suppress(work: Work, identifier: int, searcher: Searcher) -> None:
    listed, now, kind = listed_as(searcher), work.register.now(), searcher.person.kind
    work.register.write(lambda c: suppress(c, work.keys, kind, listed, identifier, now))


def order(work: Work, request: Request) -> list[Step]:
    """Places to erase, children before their parents."""
    places = work.places(person_of(work.register, work.keys, request))
    order = {place.id: i for i, place in enumerate(places.all)}
    todo = [s for s in request.steps if s.status in _TODO and s.dataset_id in order]
    stores = [s for s in request.steps if s.status in _TODO and s.name == ERASABLE]
    return [*sorted(todo, key=lambda s: -order[s.dataset_id or 0]), *stores]


def erase_place(work: Work, identifier: int, step_id: int) -> Request:
    """Erase the person in one place. Idempotent.

    :raises Refused: if the request is not one of erasure, or not approved.
    """
    request = get_request(work.register, identifier)
    require_erasure(work, request)
    step = next((s for s in request.steps if s.id == step_id), None)
    if step is None or (step.dataset_id is None and step.name != ERASABLE):
        raise UsageError(f"request {identifier} has no place number {step_id}")
    if step.status not in _TODO:
        return request
    if step.dataset_id is None:
        return _erase_in_airflow(work, request, step)
    targets = targets_of(work.register, work.keys, request)
    if targets is None:
        raise Refused(f"request {identifier}: no erasure targets were computed; start over")
    person = person_of(work.register, work.keys, request)
    places = work.places(person, step.dataset_id)
    place = places.by_id(step.dataset_id)
    if not covers(request, step):
        return work.mark(request, step, "found", reasons.NeedsItsOwnYes())
    if law := _law(place):
        return work.mark(request, step, "retained", *law)
    digests = work.hold_digests(request, place.id)
    if holds := work.holds(request, place.id, digests):
        return work.mark(request, step, "retained", *holds)
    mine = targets.get(str(place.id))
    if mine is None and place.locators:
        return request  # it could not be searched yet: locate again first
    if waiting := _children(work, request, places, place, ("failed", "unknown")):
        return work.mark(request, step, "found", reasons.WaitsFor(waiting[0]))
    if kept := _children(work, request, places, place, ("retained",)):
        return work.mark(request, step, "found", reasons.ReferredToByKept(kept[0]))
    if not mine and step.likeness:
        return work.mark(request, step, "found", reasons.FoundByLikeness())
    if not mine:
        return work.mark(request, step, "found", reasons.ToBeRebuilt())
    if _is_view(work.searcher(person, places, targets), place):
        return work.mark(request, step, "found", IsView())
    _still_approved(work, request, step, place, work.searcher(person, places, targets), mine)
    # Written first: a process that resumes this after a crash knows that it may be half done.
    if not _begin(work, step):
        work.progress(f"{place.name} is being erased from by another process")
        return get_request(work.register, identifier)
    searcher = work.searcher(person, places, targets)
    try:
        status, why = _erase_rows(work, request, step, searcher, place, mine)
    except MlsecError as error:
        status, why = "failed", (reasons.CouldNotErase(str(error)),)
    except Exception as error:
        status, why = "failed", (reasons.CouldNotErase(f"unexpected {type(error).__name__}"),)
    now = next(s for s in get_request(work.register, identifier).steps if s.id == step.id)
    if now.status != "erasing":
        return get_request(work.register, identifier)  # another process was faster
    done = work.mark(request, step, status, *why)
    if status == "erased":
        look_at_copies(work, request.id, place)
    return done


def _erase_rows(
    work: Work,
    request: Request,
    step: Step,
    searcher: Searcher,
    place: Place,
    mine: list[list[Any]],
) -> tuple[str, tuple[Reason, ...]]:
    """Remove the person's rows from a place; returns the place's new status and why."""
    person = searcher.person
    with one_at_a_time(work, place):
        try:
            removed, broken = _rewrite(work, request, step, searcher, place, mine)
        finally:
            work.erased_from(place.id)
    work.progress(f"{removed} rows erased in {place.name}")
    # A folder may have lost its last file together with its last rows.
    there = searcher.open(place).exists() and not searcher.is_empty(place)
    said = place.mentions(person.kind)
    mentioned = searcher.mentioned(place) if there else {}
    if stays := {c: n for c, n in mentioned.items() if said[c] == "keep"}:
        return "retained", (reasons.RowsErased(removed), _kept_mentions(stays))
    # Retrying does not help: it must first be located again, or found nowhere.
    again = step.status == "failed" and has(step.reasons, reasons.NothingRemoved)
    if (step.status == "found" or again) and step.rows and not removed and not step.free_text:
        return "failed", (reasons.NothingRemoved(step.rows),)
    erased = reasons.RowsErased(removed)
    if step.free_text:
        return "found", (erased, reasons.FreeTextLeft())
    if there and (more := searcher.perhaps_more(place)):
        return "unknown", (erased, reasons.MoreMayBeThere(tuple(more)))
    if there and step.likeness and (alike := searcher.widened().alike(place)):
        return "found", (erased, reasons.RowsAlike(alike))
    return "erased", (reasons.RowsOfPerson(step.rows or removed), *broken)


def _rewrite(
    work: Work,
    request: Request,
    step: Step,
    searcher: Searcher,
    place: Place,
    mine: list[list[Any]],
) -> tuple[int, list[Reason]]:
    """Remove rows and renew a release's evidence; returns the number of rows, and the broken guarantees."""
    ours = is_ours(work, searcher, place)
    announced = _announced(work, request, step, place, searcher)
    tell_of_copies(work, request.id, place)
    removed = _delete(searcher, place, mine, announced)
    return removed, renew_after_erasing(work, request, searcher, place) if ours else []


def _is_view(searcher: Searcher, place: Place) -> bool:
    try:
        return searcher.open(place).is_view()
    except MlsecError:
        return False  # erasing says why


def _begin(work: Work, step: Step) -> bool:
    """Claim a step; False if somebody else has claimed it since it was read."""
    s = t.request_step.c
    mine = sa.update(t.request_step).where(
        s.id == step.id, s.status == step.status, s.attempts == step.attempts
    )
    values = {"status": "erasing", "attempts": step.attempts + 1, "writer": this_process()}
    taken = mine.values(**values, changed_at=work.register.now())
    return work.register.write(lambda c: int(c.execute(taken).rowcount)) == 1


def _announced(
    work: Work, request: Request, step: Step, place: Place, searcher: Searcher
) -> Announce:
    """The check at the last moment before rows are deleted: while data is being rewritten, somebody may have placed a
    hold, refused the identity, or decided differently about the place. Also records the file that will be left."""
    person = searcher.person

    def still(digest: str | None) -> None:
        now = get_request(work.register, request.id)
        require_erasure(work, now)
        taken_up = any(s.id == step.id and s.status == "erasing" for s in now.steps)
        same = person_of(work.register, work.keys, now) == person
        if not taken_up or not same or not covers(now, step):
            raise ChangedMeanwhile(
                f"request {request.id} was changed while {place.name} was being rewritten: the erasure is incomplete"
            )
        if held := work.holds(now, place.id):
            raise Refused(f"{place.name}: {in_words(held)}")
        if digest is not None and place.stage == "release":
            keep_left(work, request, place, searcher, digest)

    return still


def tell_of_copies(work: Work, identifier: int, place: Place) -> None:
    """Record, before rows of a place are changed, what keeps old copies of them or reacts to the change: afterwards it
    may no longer be reachable or visible."""
    told = [in_hard_links(place), in_database(place, work.connections)]

    def write(connection: sa.Connection) -> None:
        for finding in told:
            if finding is not None:
                write_step(connection, identifier, finding, work.who, work.register.now())

    work.register.write(write)


def look_at_copies(work: Work, identifier: int, place: Place) -> None:
    """Write into the ledger which old versions of a place a bucket keeps. What somebody has settled stays settled, as
    long as there are no more of them."""
    told = in_old_versions(place, work.connections, work.old_versions)
    if told is None:
        return
    finding, gone = told
    request = get_request(work.register, identifier)
    step = next((s for s in request.steps if s.name == finding.dataset), None)
    if step is None and finding.status == "none":
        return
    if step is not None and not gone:
        if step.status == "erased" and finding.status == "none":
            return
        fewer = finding.rows is not None and finding.rows <= (step.rows or 0)
        decided = step.status in DECIDED and step.status != "none"
        if decided and (finding.status == "unknown" or (fewer and finding.rows)):
            return
    now = work.register.now()
    work.register.write(lambda c: write_step(c, identifier, finding, work.who, now))


def _erase_in_airflow(work: Work, request: Request, step: Step) -> Request:
    """Remove the person from those of Airflow's own stores in which its API can delete."""
    assert request.approved is not None
    if work.scan.airflow is None:
        return work.mark(request, step, "failed", reasons.NoAirflowHere())
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request)
    searcher = work.searcher(person, work.places(person), known).widened()
    work.mark(request, step, "erasing", *step.reasons, attempts=step.attempts + 1)
    try:
        at_most = request.approved["places"].get(step.name) or 0
        shared = any(said.column == ERASABLE for said in person.confirmed)
        removed = work.scan.airflow.erase(searcher.needles, at_most, shared)
    except MlsecError as error:
        return work.mark(request, step, "failed", reasons.CouldNotErase(str(error)))
    work.progress(f"{removed} entries erased in {step.name}")
    gone = reasons.EntriesErased(removed)
    if step.likeness:
        return work.mark(request, step, "found", gone, reasons.EntriesLeft())
    return work.mark(request, step, "erased", gone)


def _still_approved(
    work: Work,
    request: Request,
    step: Step,
    place: Place,
    searcher: Searcher,
    targets: list[list[Any]],
) -> None:
    """:raises Refused: if rows are found by other columns, or there are more rows, than was approved."""
    assert request.approved is not None
    by = request.approved.get("columns", {}).get(step.name, [])
    others = sorted({x.column for x in place.locators} - set(by))
    if others:
        why = reasons.ApprovalOfOtherColumns(place.name, tuple(others))
        take_back(work.register, request.id, why, work.who)
    try:
        dataset = searcher.open(place)
        meant = searcher.as_targets(place, dataset, dict(targets))
        rows = sum(dataset.find_in(x.column, x.values, False, x.also).rows for x in meant)
    except MlsecError:
        return  # what cannot be read cannot be erased either, and erasing reports that
    if rows > (request.approved["places"].get(step.name) or 0):
        more = reasons.ApprovalOfFewerRows(place.name, rows)
        take_back(work.register, request.id, more, work.who)


def _children(
    work: Work, request: Request, places: Places, parent: Place, states: tuple[str, ...]
) -> list[str]:
    """Places in one of these states that refer to this one."""
    status = {step.dataset_id: step.status for step in request.steps}
    return [
        place.name
        for place in places.all
        if status.get(place.id) in states
        and place.subject
        and (place.subject.get("references") or {}).get("dataset") == parent.uri
    ]


def reopen_what_nothing_keeps(work: Work, request: Request) -> None:
    """Mark places that a legal duty to keep or a legal hold keeps, and reopen those that were kept by one and that
    nothing keeps any more. What a person has decided stays."""
    digests = work.hold_digests(request)
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request)
    searcher = work.searcher(person, work.places(person), known)
    places = {place.id: place for place in searcher.places.all}
    looked_at = (*_TODO, "retained") if request.kind in ERASING else ("retained",)
    for step in request.steps:
        place = places.get(step.dataset_id or 0)
        if place is None or step.status not in looked_at or step.decided_by is not None:
            continue
        keeps = work.holds(request, place.id, digests)
        if request.kind in ERASING and (law := _law(place)):
            keeps = law
        if keeps and (step.status != "retained" or step.reasons != keeps):
            work.mark(request, step, "retained", *keeps)
        elif step.status == "retained" and not keeps:
            if mentioned := _only_mentions(searcher, place):
                if has(step.reasons, reasons.KeptByHold, reasons.KeptByLaw):
                    work.mark(request, step, "retained", mentioned)
                continue
            reopened = "found" if request.kind in ERASING else "unknown"
            work.mark(request, step, reopened, reasons.NothingKeepsIt())


def _law(place: Place) -> tuple[Reason, ...]:
    """The legal duty to keep that a place's policy names, if any."""
    duty = place.policy.get("erasure") if place.policy else None
    return (reasons.KeptByLaw(duty["retain"]),) if duty else ()


def _only_mentions(searcher: Searcher, place: Place) -> Reason | None:
    """The reason to keep the rows there, if all rows that name the person only mention the person and the policy keeps
    them; otherwise None."""
    said = place.mentions(searcher.person.kind)
    try:
        stays = {c: n for c, n in searcher.mentioned(place).items() if said[c] == "keep"}
        if not stays or searcher.rows(place, keep=False, without=stays).rows:
            return None
    except MlsecError:
        return None
    return _kept_mentions(stays)


def _kept_mentions(rows: Mapping[str, int]) -> Reason:
    listed = tuple(reasons.MentionsIn(n, c) for c, n in sorted(rows.items()))
    return reasons.MentionsKept(listed)


def _delete(
    searcher: Searcher,
    place: Place,
    targets: list[list[Any]],
    announce: Announce,
) -> int:
    searcher.refuse_mentions(place)
    dataset, removed = searcher.open(place), 0
    mentions = place.mentions(searcher.person.kind)
    for target in searcher.as_targets(place, dataset, dict(targets)):
        given = (target.column, target.values)
        match mentions.get(target.column, "delete_row"):
            case "keep":
                continue
            case "erase_value":
                given_up = {target.column: None}
                removed += dataset.update_in(*given, given_up, target.also, announce)
            case _:
                removed += dataset.delete_in(*given, target.also, announce)
    return removed
