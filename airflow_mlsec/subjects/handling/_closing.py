"""Closing a request: everything is checked again, then the receipt is signed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import sqlalchemy as sa

from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    MlsecError,
)
from airflow_mlsec.ledger import Reason, rules_in_force
from airflow_mlsec.register import requests_did_more
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import (
    Person,
)
from airflow_mlsec.subjects.handling._erasing import prepare, put_on_list, reopen_what_nothing_keeps
from airflow_mlsec.subjects.handling._locating import locate
from airflow_mlsec.subjects.handling._looking_again import verify
from airflow_mlsec.subjects.handling._rectified import is_still_right
from airflow_mlsec.subjects.handling._vaults import empty_vaults, tell_of_vaults
from airflow_mlsec.subjects.handling._work import Work, require_erasure
from airflow_mlsec.subjects.requests._changes import change, write_step
from airflow_mlsec.subjects.requests._receipt import make_receipt
from airflow_mlsec.subjects.requests._request import (
    ANSWERING,
    CORRECTING,
    ERASING,
    RESTRICTING,
    Request,
    get_request,
    person_of,
    require_ready,
    targets_of,
)
from airflow_mlsec.subjects.requests._requests import not_handed_over
from airflow_mlsec.subjects.search._copies import beyond_reach
from airflow_mlsec.subjects.search._places import copies_of, places_of
from airflow_mlsec.subjects.search._reasons import ErrorSays
from airflow_mlsec.subjects.search._search import (
    RECTIFIED,
)

# How often closing is attempted if something is changed meanwhile.
_ATTEMPTS = 3
# Statuses that show that something was done for a rectification.
_ACTED = ("rectified", "manual")


def close(work: Work, identifier: int) -> tuple[Request, str | None]:
    """Close a request whose places are all settled; returns the request with its signed receipt,
    and the salt for the person (None if it was closed before).

    :raises CheckFailed: if a place is unknown, failed or not settled.
    :raises ChangedMeanwhile: if others keep changing places or releases during every attempt.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _close(work, identifier)
        except _Overtaken:
            work.progress(f"request {identifier}: something was changed meanwhile, looking again")
    return _close(work, identifier)


class _Overtaken(ChangedMeanwhile):
    """Something was changed between the last look and the signature."""


def _close(work: Work, identifier: int) -> tuple[Request, str | None]:
    request = get_request(work.register, identifier)
    if request.closed_at is not None:
        return request, None
    require_ready(request, (request.kind,))
    if request.kind in RESTRICTING and request.status not in ("restricted", "lifted"):
        raise CheckFailed(f"request {identifier}: the person's data is not restricted yet")
    if request.kind in CORRECTING and not any(s.status in _ACTED for s in request.steps):
        raise CheckFailed(f"request {identifier}: nothing was rectified yet")
    if request.kind in ANSWERING and not request.exports:
        raise CheckFailed(
            f"request {identifier} asks for {request.kind}, and nothing was handed over yet (mlsec subject export)"
        )
    verified: dict[str, Reason] = {}
    about = person_of(work.register, work.keys, request)
    announced = work.register.read(_last_announced)
    if request.kind in ERASING and request.approved_by:
        # First: a release that appears while places are checked is refused or noticed.
        put_on_list(work, request)
    # Places may have been added, or filled again, since the last look.
    request = locate(work, identifier)
    if request.kind in ERASING and request.approved_by:
        prepare(work, identifier)
        verified = verify(work, identifier)
    if request.kind in CORRECTING:
        reopen_what_nothing_keeps(work, request)
        _look_at_rectified(work, get_request(work.register, identifier))
        _look_at_later_copies(work, get_request(work.register, identifier))
    request = get_request(work.register, identifier)
    if request.kind in ANSWERING and (missing := not_handed_over(request)):
        raise CheckFailed(
            f"request {identifier} stays open: what was found since then in {', '.join(missing[:5])} is in no export and no "
            "letter: export again (mlsec subject export)"
        )
    _require_settled(request)
    person = person_of(work.register, work.keys, request)
    if person != about:
        raise ChangedMeanwhile(
            f"request {identifier}: the person was changed while the request was being closed"
        )
    if request.kind in ERASING and not request.approved_by:
        require_erasure(work, request)
    codes: dict[str, list[str]] = {}
    if request.kind in ERASING:
        _tell_beyond_reach(work, request, person)
        targets = targets_of(work.register, work.keys, request) or {}
        searcher = work.searcher(person, work.places(person))
        codes = tell_of_vaults(work.register, request, searcher, targets, work.who)
        request = get_request(work.register, identifier)
        _require_settled(request)
    now = work.register.now()
    zone = rules_in_force(work.register).rules.time_zone
    # A file name may contain the person's key.
    shown = work.searcher(person, work.places(person)).widened().needles.without
    receipt, salt = make_receipt(request, person, verified, now, work.keys, zone, shown)

    def still(connection: sa.Connection, seen: Request) -> None:
        if seen.steps != request.steps:
            raise _Overtaken(f"request {identifier}: places were changed while it was being closed")
        if request.kind in ANSWERING:
            return
        # A release that read before now and is announced later is refused; one announced since the look was not checked.
        requests_did_more(connection)
        if _announced_to(connection, announced, person):
            raise _Overtaken(
                f"request {identifier}: releases were announced while it was being closed"
            )
        empty_vaults(connection, codes)

    # Once the receipt is written, nobody needs to know any more who the person was.
    values = {"status": "closed", "closed_at": now, "receipt": receipt, "sealed": None}
    closed = reasons.RequestClosed()
    change(work.register, identifier, work.who, closed, values, seen=request, also=still)
    return get_request(work.register, identifier), salt


def _require_settled(request: Request) -> None:
    if left := request.open_steps():
        names = "; ".join(f"{step.name} ({step.status}: {step.detail})" for step in left[:5])
        raise CheckFailed(
            f"request {request.id} stays open: {len(left)} of {len(request.steps)} places are not "
            f"settled: {names}"
        )


def _announced_to(connection: sa.Connection, after: int, person: Person) -> bool:
    """Whether a release to one of this person's places has been announced since then."""
    e = t.evidence.c
    query = sa.select(e.dataset_id).where(e.id > after).distinct()
    targets = set(connection.execute(query).scalars())
    return bool(targets) and any(p.id in targets for p in places_of(connection, person).all)


def _last_announced(connection: sa.Connection) -> int:
    """The last release or artifact that was announced or published."""
    return connection.execute(sa.select(sa.func.max(t.evidence.c.id))).scalar_one() or 0


def _look_at_rectified(work: Work, request: Request) -> None:
    """Check whether rectified values are still right: the old values may have been loaded again."""
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request) or {}
    searcher = work.searcher(person, work.places(person), known)
    steps = {step.dataset_id: step for step in request.steps}
    places = {place.id: place for place in searcher.places.all}
    # Checked whatever status locating has given their steps since.
    for place_id, column, text, *more in known.get(RECTIFIED, []):
        step, place, earlier = steps.get(place_id), places.get(place_id), more[0] if more else ()
        if step is None or place is None or step.decided_by is not None:
            continue
        if step.status == "retained" and work.holds(request, place_id):
            continue
        try:
            empty = searcher.is_empty(place)
            right = empty or is_still_right(searcher, place, column, text, earlier)
        except MlsecError as error:
            again = reasons.CouldNotLookAgain((ErrorSays(str(error)),))
            work.mark(request, step, "failed", again)
            continue
        if not right:
            steps[place_id] = replace(step, status="unknown")
            work.mark(request, step, "unknown", reasons.ValueWrongAgain(column))
        elif step.status in ("found", "failed"):
            steps[place_id] = replace(step, status="rectified")
            work.mark(request, step, "rectified", reasons.ValueRight(column))


def _look_at_later_copies(work: Work, request: Request) -> None:
    """Find unchanged copies of rectified columns that were not known then: they must be rectified as well."""
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request) or {}
    searcher = work.searcher(person, work.places(person), known)
    places = {place.id: place for place in searcher.places.all}
    steps = {step.dataset_id: step for step in request.steps}
    right = {(entry[0], entry[1]): entry for entry in known.get(RECTIFIED, [])}
    for (root, column), (_, _, text, *_) in list(right.items()):
        if root not in places:
            continue
        of = partial(copies_of, place=places[root], column=column)
        copies, _ = work.register.read(of)
        for dataset, name in copies:
            place, step = places.get(dataset), steps.get(dataset)
            if (dataset, name) in right or place is None or not place.locators:
                continue
            if step is None or step.decided_by is not None or place.stage == "release":
                continue
            right[dataset, name] = [dataset, name, text]
            try:
                fine = searcher.is_empty(place) or is_still_right(searcher, place, name, text)
                why: Reason = reasons.CopyHasOther(name)
            except MlsecError as error:
                fine = False
                why = reasons.CouldNotLookAgain((ErrorSays(str(error)),))
            if not fine:
                work.mark(request, step, "unknown", why)


def _tell_beyond_reach(work: Work, request: Request, person: Person) -> None:
    places = work.places(person)
    changed = {s.dataset_id for s in request.steps if s.status == "erased"}
    searcher = work.searcher(person, places)
    told = beyond_reach(
        [place for place in places.all if place.id in changed], searcher.tags(changed)
    )
    if told is not None:
        now = work.register.now()
        work.register.write(lambda c: write_step(c, request.id, told, work.who, now))


def changed_uris(work: Work, request: Request) -> list[str]:
    """Datasets in which the person was erased, rectified or restricted: what was made from
    them has to be rebuilt."""
    changed = {s.dataset_id for s in request.steps if s.status in ("erased", "rectified")}
    if request.status == "restricted":
        changed |= {s.dataset_id for s in request.steps if s.status == "retained"}
    person = person_of(work.register, work.keys, request)
    return [p.uri for p in work.places(person).all if p.id in changed and p.uri]
