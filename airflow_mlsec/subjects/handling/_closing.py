"""Closing a request: everything looked at again, then the signed receipt."""

from __future__ import annotations

from airflow_mlsec.crypto import KeyKind
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    MlsecError,
)
from airflow_mlsec.subjects._identity import (
    Person,
)
from airflow_mlsec.subjects.handling._erasing import prepare, put_on_list
from airflow_mlsec.subjects.handling._locating import locate
from airflow_mlsec.subjects.handling._looking_again import verify
from airflow_mlsec.subjects.handling._rectified import is_still_right
from airflow_mlsec.subjects.handling._vaults import empty_vaults
from airflow_mlsec.subjects.handling._work import Work, require_erasure
from airflow_mlsec.subjects.requests._receipt import make_receipt
from airflow_mlsec.subjects.requests._requests import (
    ANSWERING,
    CORRECTING,
    ERASING,
    RESTRICTING,
    Request,
    change,
    get_request,
    not_handed_over,
    person_of,
    require_ready,
    targets_of,
    write_step,
)
from airflow_mlsec.subjects.requests._rules import rules_in_force
from airflow_mlsec.subjects.search._copies import beyond_reach
from airflow_mlsec.subjects.search._search import (
    RECTIFIED,
)

# Of a rectification, that something was done about it.
_ACTED = ("rectified", "manual")


def close(work: Work, identifier: int) -> tuple[Request, str | None]:
    """Close a request whose every place is settled; the request with its signed receipt, and
    the salt for the person (None, if it was closed before).

    :raises CheckFailed: if a place is unknown, failed or not settled.
    """
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
    verified: dict[str, str] = {}
    about = person_of(work.register, work.keys, request)
    if request.kind in ERASING and request.approved_by:
        # First: a release that comes while places are looked at is refused, or seen.
        put_on_list(work, request)
    # Places may have come, or been filled again, since anybody looked.
    request = locate(work, identifier)
    if request.kind in ERASING and request.approved_by:
        prepare(work, identifier)
        verified = verify(work, identifier)
    if request.kind in CORRECTING:
        _look_at_rectified(work, request)
    request = get_request(work.register, identifier)
    if request.kind in ANSWERING and (missing := not_handed_over(request)):
        raise CheckFailed(
            f"request {identifier} stays open: what was found since in {', '.join(missing[:5])} is in no export and in no "
            "letter: export again (mlsec subject export)"
        )
    if left := request.open_steps():
        names = "; ".join(f"{step.name} ({step.status}: {step.detail})" for step in left[:5])
        raise CheckFailed(
            f"request {identifier} stays open: {len(left)} of {len(request.steps)} places are not "
            f"settled: {names}"
        )
    person = person_of(work.register, work.keys, request)
    if person != about:
        raise ChangedMeanwhile(
            f"request {identifier}: who it is about was changed while it was being closed"
        )
    if request.kind in ERASING and not request.approved_by:
        require_erasure(request)
    if request.kind in ERASING:
        _tell_beyond_reach(work, request, person)
        targets = targets_of(work.register, work.keys, request) or {}
        empty_vaults(work.register, request, person, work.places(person), targets)
        request = get_request(work.register, identifier)
    now = work.register.now()
    signing = work.keys.ensure("signing", KeyKind.SIGNING)
    zone = rules_in_force(work.register).rules.time_zone
    # Somebody's key may stand in a file's name.
    shown = work.searcher(person, work.places(person)).widened().needles.without
    receipt, salt = make_receipt(request, person, verified, now, signing, zone, shown)
    # With the receipt written, nobody needs to know any more whom it was about.
    values = {"status": "closed", "closed_at": now, "receipt": receipt, "sealed": None}
    change(work.register, identifier, work.by, "closed, receipt signed", values, seen=request)
    return get_request(work.register, identifier), salt


def _look_at_rectified(work: Work, request: Request) -> None:
    """Whether what was put right still is: it may have been loaded again as it was."""
    person = person_of(work.register, work.keys, request)
    known = targets_of(work.register, work.keys, request) or {}
    searcher = work.searcher(person, work.places(person), known)
    steps = {step.dataset_id: step for step in request.steps if step.status == "rectified"}
    places = {place.id: place for place in searcher.places.all}
    for place_id, column, text in known.get(RECTIFIED, []):
        step, place = steps.get(place_id), places.get(place_id)
        if step is None or place is None:
            continue
        try:
            right = is_still_right(searcher, place, column, text)
        except MlsecError as error:
            work.mark(request, step, "failed", f"could not be looked at again: {error}")
            continue
        if not right:
            detail = f"column '{column}' has another value again: put it right again"
            work.mark(request, step, "unknown", detail)


def _tell_beyond_reach(work: Work, request: Request, person: Person) -> None:
    places = work.places(person)
    changed = {s.dataset_id for s in request.steps if s.status == "erased"}
    searcher = work.searcher(person, places)
    told = beyond_reach(
        [place for place in places.all if place.id in changed], searcher.tags(changed)
    )
    if told is not None:
        now = work.register.now()
        work.register.write(lambda c: write_step(c, request.id, told, now))


def changed_uris(work: Work, request: Request) -> list[str]:
    """Datasets from which the person was erased, or put right, or in which she is restricted:
    what was made from them has to be made anew."""
    changed = {s.dataset_id for s in request.steps if s.status in ("erased", "rectified")}
    if request.status == "restricted":
        changed |= {s.dataset_id for s in request.steps if s.status == "retained"}
    person = person_of(work.register, work.keys, request)
    return [p.uri for p in work.places(person).all if p.id in changed and p.uri]
