"""Looking again, with other code, at what was erased or settled."""

from __future__ import annotations

from airflow_mlsec.errors import (
    MlsecError,
    Refused,
)
from airflow_mlsec.subjects.handling._erasing import look_at_copies
from airflow_mlsec.subjects.handling._verify import rescan
from airflow_mlsec.subjects.handling._work import DECIDED, Work
from airflow_mlsec.subjects.requests._requests import (
    NO_FILES,
    Because,
    Request,
    Step,
    get_request,
    note,
    person_of,
    set_step,
    targets_of,
)
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import search_place
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._scan import Scanner
from airflow_mlsec.subjects.search._search import (
    Searcher,
)

_LOOKED_AT_AGAIN = ("erased", *DECIDED)


def verify(work: Work, identifier: int) -> dict[str, str]:
    """Look again, with other code, at every place that was erased; by place what was found.
    Where the person still is, the step is open again.

    :raises Refused: if nothing was erased.
    """
    request = get_request(work.register, identifier)
    targets = targets_of(work.register, work.keys, request)
    if targets is None:
        raise Refused(f"request {identifier}: nothing was erased yet")
    person = person_of(work.register, work.keys, request)
    outcome: dict[str, str] = {}
    searcher = work.searcher(person, work.places(person), targets)
    places = {place.id: place for place in searcher.places.all}
    stores: list[Finding] | None = None
    for step in request.steps:
        place = places.get(step.dataset_id or 0)
        if step.kind == AIRFLOW and step.status in _LOOKED_AT_AGAIN:
            if stores is None:
                stores = Scanner(searcher.widened(), work.scan, work.progress).airflow()
            outcome[step.name] = _still_in_airflow(work, request, step, stores)
            continue
        if step.dataset_id is None and step.kind not in NO_FILES and step.status in DECIDED:
            outcome[step.name] = _still_below_a_root(work, request, step, searcher)
            continue
        if place is None or step.status not in _LOOKED_AT_AGAIN:
            continue
        work.progress(f"looking again at {place.name}")
        if not place.locators:
            if step.status in DECIDED:
                outcome[step.name] = _still_in(work, request, step, place, searcher)
            continue
        if step.status == "none" and place.gone is not None:
            continue
        known = {column: set(texts) for column, texts in targets.get(str(place.id), ())}
        outcome[step.name] = _look_again(work, request, step, place, known, searcher)
    for place in searcher.places.all:
        if any(s.dataset_id == place.id and s.status == "erased" for s in request.steps):
            look_at_copies(work, identifier, place)
    note(work.register, identifier, work.who, f"looked again at {len(outcome)} places")
    return outcome


def _still_in(work: Work, request: Request, step: Step, place: Place, searcher: Searcher) -> str:
    """What a list of members says of a place that somebody settled and nobody can look into."""
    if step.status == "rebuilt" and step.decided_by is None:
        return f"rebuilt ({step.detail})"
    scanner = Scanner(searcher.widened(), work.scan, work.progress)
    finding = scanner.place(search_place(searcher, place), place)
    if finding.status == "none":
        return f"clean ({finding.evidence})"
    if finding.status == "none by scan":
        return f"none by scan ({finding.evidence})"
    if finding.status != "found":
        return f"not looked into: {finding.evidence}"
    if step.status == "retained":
        return f"still there, by decision of {step.decided_by or 'the policy or the law'} ({finding.evidence})"
    if step.status == "rebuilt":
        return f"rebuilt, by word of {step.decided_by}; a list of what it was made from before has the person"
    detail = f"settled as {step.status} by {step.decided_by}, and the person is still in it: {finding.evidence}"
    work.mark(request, step, "found", detail)
    return f"still there ({finding.evidence})"


def _still_in_airflow(work: Work, request: Request, step: Step, stores: list[Finding]) -> str:
    """What another look at Airflow's own stores says."""
    finding = next((f for f in stores if f.dataset == step.name), None)
    if finding is None or finding.status == "unknown":
        why = finding.evidence if finding else "Airflow's API cannot be reached from here"
        if step.status == "erased":
            work.mark(request, step, "unknown", f"could not be looked at again: {why}")
        return f"not looked into: {why}"
    if finding.status != "found":
        return f"clean ({finding.evidence})"
    return _still_found(work, request, step, finding)


def _still_below_a_root(work: Work, request: Request, step: Step, searcher: Searcher) -> str:
    """What a scan says of a file that no lineage names, and that somebody has settled."""
    finding = Scanner(searcher.widened(), work.scan, work.progress).file(step.name)
    if finding.status != "found":
        return f"{finding.status} ({finding.evidence})"
    return _still_found(work, request, step, finding)


def _still_found(work: Work, request: Request, step: Step, finding: Finding) -> str:
    """What is to be said of what was settled, and a scan has found again; the step is open again, unless
    somebody keeps it."""
    if step.status == "retained":
        return f"still there, by decision of {step.decided_by} ({finding.locator})"
    by = f" by {step.decided_by}" if step.decided_by else ""
    detail = f"settled as {step.status}{by}, and still there by {finding.locator}"
    work.mark(request, step, "found", detail)
    return f"still there ({finding.locator})"


def _look_again(
    work: Work,
    request: Request,
    step: Step,
    place: Place,
    known: dict[str, set[str]],
    searcher: Searcher,
) -> str:
    person = searcher.person
    anywhere, own = set(person.keys), {}
    for column, texts in known.items():
        # Keys and pseudonyms may turn up anywhere; a foreign key is one in its own column only.
        foreign = any(x.column == column and x.key is None for x in place.locators)
        if foreign and not texts <= anywhere:
            own[column] = texts
        else:
            anywhere |= texts
    try:
        if place.gone is not None and searcher.is_gone(place):
            return f"clean (lineage: {place.gone[0]} {place.gone[1][:19]}, and nothing is there any more)"
        # What may not be opened is not looked at either.
        if not searcher.open(place).exists() and step.decided_by is not None:
            return f"not looked into: nothing is there; by word of {step.decided_by}"
        others = {place.telling[n]: v for n, v in person.only.items() if n in place.telling}
        exact = searcher.has_exact_keys(place)
        found = rescan(place.uri or "", anywhere, own, work.connections, others, place.parts, exact)
    except MlsecError as error:
        work.mark(request, step, "failed", f"could not be looked at again: {error}")
        return f"failed: {error}"
    if found.rows and step.status == "retained":
        return f"still there: {found.rows} rows ({found.how}), by decision of {step.decided_by or 'the policy or the law'}"
    if found.rows and step.status == "manual" and len(others) < len(person.only):
        # Nothing there tells the people who share the key apart, so a person did.
        return f"{found.rows} rows have a key that others share; which are left is by word of {step.decided_by}"
    if found.rows:
        detail = f"{found.rows} rows still name the person ({found.how})"
        work.mark(request, step, "found", detail, Because.STILL_NAMED)
        return f"{found.rows} rows left ({found.how})"
    if any(x.likeness for x in place.locators):
        left = Scanner(searcher.widened(), work.scan, work.progress).beside(place)
        detail = f"likeness is left: {'; '.join(hit.described() for hit in left)}"
        if left and step.status == "retained":
            return f"still there: {detail}, by decision of {step.decided_by or 'the policy or the law'}"
        if left:
            work.register.write(lambda c: set_step(c, step.id, work.register.now(), likeness=True))
            work.mark(request, step, "found", detail)
            return detail
    there = searcher.open(place).exists() and not searcher.is_empty(place)
    if not there and not place.intended:
        return f"clean ({found.how})"
    # What changed may be an older release, under versions of keys that the newest evidence does not name.
    if more := searcher.perhaps_other(place):
        detail = f"more may be there: {', '.join(more)}"
        if step.decided_by is None or searcher.missing(place):
            work.mark(request, step, "unknown", detail)
            return f"unknown: {detail}"
        return f"not known: {detail}; by word of {step.decided_by}"
    if alike := searcher.widened().alike(place):
        detail = f"{alike} rows are there by likeness: another spelling of the key"
        if step.decided_by is None:
            work.mark(request, step, "found", detail)
            return detail
        how = "by decision" if step.status == "retained" else "by word"
        return f"still there: {detail}, {how} of {step.decided_by}"
    return f"clean ({found.how})"
