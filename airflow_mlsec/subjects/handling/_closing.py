"""Closing a request: everything looked at again, then the signed receipt."""

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

# How often it is looked again, where something was changed meanwhile.
_ATTEMPTS = 3
# Of a rectification, that something was done about it.
_ACTED = ("rectified", "manual")


def close(work: Work, identifier: int) -> tuple[Request, str | None]:
    """Close a request whose every place is settled; the request with its signed receipt, and
    the salt for the person (None, if it was closed before).

    :raises CheckFailed: if a place is unknown, failed or not settled.
    :raises ChangedMeanwhile: if places or releases are changed by others again and again while it looks.
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
        # First: a release that comes while places are looked at is refused, or seen.
        put_on_list(work, request)
    # Places may have come, or been filled again, since anybody looked.
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
            f"request {identifier} stays open: what was found since in {', '.join(missing[:5])} is in no export and in no "
            "letter: export again (mlsec subject export)"
        )
    _require_settled(request)
    person = person_of(work.register, work.keys, request)
    if person != about:
        raise ChangedMeanwhile(
            f"request {identifier}: who it is about was changed while it was being closed"
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
    # Somebody's key may stand in a file's name.
    shown = work.searcher(person, work.places(person)).widened().needles.without
    receipt, salt = make_receipt(request, person, verified, now, work.keys, zone, shown)

    def still(connection: sa.Connection, seen: Request) -> None:
        if seen.steps != request.steps:
            raise _Overtaken(f"request {identifier}: places were changed while it was being closed")
        if request.kind in ANSWERING:
            return
        # What has read before now, and is announced after, is refused; what was announced since the look is not in it.
        requests_did_more(connection)
        if _announced_to(connection, announced, person):
            raise _Overtaken(
                f"request {identifier}: releases were announced while it was being closed"
            )
        empty_vaults(connection, codes)

    # With the receipt written, nobody needs to know any more whom it was about.
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
    """Whether somebody has announced since then what they publish to a place of this person's."""
    e = t.evidence.c
    query = sa.select(e.dataset_id).where(e.id > after).distinct()
    targets = set(connection.execute(query).scalars())
    return bool(targets) and any(p.id in targets for p in places_of(connection, person).all)


def _last_announced(connection: sa.Connection) -> int:
    """The last release or artifact that somebody was going to publish, or has."""
    return connection.execute(sa.select(sa.func.max(t.evidence.c.id))).scalar_one() or 0


def _look_at_rectified(work: Work, request: Request) -> None:
    """Whether what was put right still is: it may have been loaded again as it was."""
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request) or {}
    searcher = work.searcher(person, work.places(person), known)
    steps = {step.dataset_id: step for step in request.steps}
    places = {place.id: place for place in searcher.places.all}
    # Whatever looking has made of their steps since.
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
    """Unchanged copies of what was put right, of which nobody knew then: somebody puts them right as well."""
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
    """Datasets from which the person was erased, or put right, or in which they are restricted:
    what was made from them has to be made anew."""
    changed = {s.dataset_id for s in request.steps if s.status in ("erased", "rectified")}
    if request.status == "restricted":
        changed |= {s.dataset_id for s in request.steps if s.status == "retained"}
    person = person_of(work.register, work.keys, request)
    return [p.uri for p in work.places(person).all if p.id in changed and p.uri]
