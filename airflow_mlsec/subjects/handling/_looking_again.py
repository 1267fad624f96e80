"""A second look, with independent code, at what was erased or settled."""

from __future__ import annotations

from airflow_mlsec.errors import (
    MlsecError,
    Refused,
)
from airflow_mlsec.ledger import Reason
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.handling._erasing import look_at_copies
from airflow_mlsec.subjects.handling._verify import rescan
from airflow_mlsec.subjects.handling._work import DECIDED, Work
from airflow_mlsec.subjects.requests._changes import change_step, note
from airflow_mlsec.subjects.requests._request import (
    NO_FILES,
    Request,
    Step,
    get_request,
    person_of,
    targets_of,
)
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import search_place
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._reasons import DatasetMissing, ErrorSays, PlaceDropped
from airflow_mlsec.subjects.search._scan import Scanner
from airflow_mlsec.subjects.search._search import (
    Searcher,
)

_LOOKED_AT_AGAIN = ("erased", *DECIDED)


def verify(work: Work, identifier: int) -> dict[str, Reason]:
    """Look again, with independent code, at every place that was erased; returns what was found by
    place. Where the person still is, the step is reopened.

    :raises Refused: if nothing was erased.
    """
    request = get_request(work.register, identifier)
    targets = targets_of(work.register, work.keys, request)
    if targets is None:
        raise Refused(f"request {identifier}: nothing was erased yet")
    person = person_of(work.register, work.keys, request)
    outcome: dict[str, Reason] = {}
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
    note(work.register, identifier, work.who, reasons.LookedAgain(len(outcome)))
    return outcome


def _still_in(work: Work, request: Request, step: Step, place: Place, searcher: Searcher) -> Reason:
    """What a membership list says about a settled place that nobody can look into."""
    if step.status == "rebuilt" and step.decided_by is None:
        return reasons.RebuiltAnew(step.reasons)
    scanner = Scanner(searcher.widened(), work.scan, work.progress)
    finding = scanner.place(search_place(searcher, place), place)
    if finding.status == "none":
        return reasons.Clean(finding.reasons)
    if finding.status == "none by scan":
        return reasons.CleanByScan(finding.reasons)
    if finding.status != "found":
        return reasons.NotLookedInto(finding.reasons)
    if step.status == "retained":
        return reasons.StillThere(finding.reasons, _decided(step))
    if step.status == "rebuilt":
        return reasons.RebuiltByWord(str(step.decided_by))
    yet = reasons.SettledYetThere(step.status, finding.reasons, step.decided_by)
    work.mark(request, step, "found", yet)
    return reasons.StillThere(finding.reasons)


def _decided(step: Step) -> Reason:
    """Who decided that a place stays as it is."""
    return reasons.ByPerson(step.decided_by) if step.decided_by else reasons.ByPolicyOrLaw()


def _still_in_airflow(work: Work, request: Request, step: Step, stores: list[Finding]) -> Reason:
    """The result of another look at Airflow's own stores."""
    finding = next((f for f in stores if f.dataset == step.name), None)
    if finding is None or finding.status == "unknown":
        why = finding.reasons if finding else (reasons.NoAirflowHere(),)
        if step.status == "erased":
            work.mark(request, step, "unknown", reasons.CouldNotLookAgain(why))
        return reasons.NotLookedInto(why)
    if finding.status != "found":
        return reasons.Clean(finding.reasons)
    return _still_found(work, request, step, finding)


def _still_below_a_root(work: Work, request: Request, step: Step, searcher: Searcher) -> Reason:
    """What a scan says about a file that no lineage names and that somebody has settled."""
    finding = Scanner(searcher.widened(), work.scan, work.progress).file(step.name)
    if finding.status == "found":
        return _still_found(work, request, step, finding)
    if finding.status == "none":
        return reasons.Clean(finding.reasons)
    if finding.status == "none by scan":
        return reasons.CleanByScan(finding.reasons)
    return reasons.NotLookedInto(finding.reasons)


def _still_found(work: Work, request: Request, step: Step, finding: Finding) -> Reason:
    """The reason for what was settled but a scan has found again. The step is reopened, unless somebody
    keeps the data."""
    by = finding.found_by
    if step.status == "retained":
        return reasons.StillThere(by, _decided(step))
    work.mark(request, step, "found", reasons.SettledYetThere(step.status, by, step.decided_by))
    return reasons.StillThere(by)


def _look_again(
    work: Work,
    request: Request,
    step: Step,
    place: Place,
    known: dict[str, set[str]],
    searcher: Searcher,
) -> Reason:
    person = searcher.person
    anywhere, own = set(person.keys), {}
    for column, texts in known.items():
        # Keys and pseudonyms may be anywhere; a foreign key means something only in its column.
        foreign = any(x.column == column and x.key is None for x in place.locators)
        if foreign and not texts <= anywhere:
            own[column] = texts
        else:
            anywhere |= texts
    try:
        if place.gone is not None and searcher.is_gone(place):
            dropped = PlaceDropped(place.gone[0], place.gone[1][:19])
            return reasons.Clean((dropped,))
        # Opening it first: a place that must not be opened is not looked at either.
        if not searcher.open(place).exists() and step.decided_by is not None:
            return reasons.NotLookedInto((DatasetMissing(),), step.decided_by)
        others = {place.telling[n]: v for n, v in person.only.items() if n in place.telling}
        exact = searcher.has_exact_keys(place)
        found = rescan(place.uri or "", anywhere, own, work.connections, others, place.parts, exact)
    except MlsecError as error:
        failed = reasons.CouldNotLookAgain((ErrorSays(str(error)),))
        work.mark(request, step, "failed", failed)
        return reasons.SecondLookFailed(str(error))
    clean = reasons.Clean((reasons.Looked(found.how),))
    if found.rows and step.status == "retained":
        return reasons.StillThere((reasons.RowsThere(found.rows, found.how),), _decided(step))
    if found.rows and step.status == "manual" and len(others) < len(person.only):
        # Nothing there distinguishes the people who share the key, so a person decided.
        return reasons.SharedRowsLeft(found.rows, str(step.decided_by))
    if found.rows:
        work.mark(request, step, "found", reasons.StillNamed(found.rows, found.how))
        return reasons.RowsLeft(found.rows, found.how)
    if any(x.likeness for x in place.locators):
        hits = Scanner(searcher.widened(), work.scan, work.progress).beside(place)
        left = reasons.LikenessLeft(tuple(hit.described() for hit in hits))
        if hits and step.status == "retained":
            return reasons.StillThere((left,), _decided(step))
        if hits:
            now = work.register.now()
            work.register.write(lambda c: change_step(c, step.id, now, likeness=True))
            work.mark(request, step, "found", left)
            return left
    there = searcher.open(place).exists() and not searcher.is_empty(place)
    if not there and not place.intended:
        return clean
    # A changed file may be an older release, under key versions that the newest evidence does not name.
    if more := searcher.perhaps_other(place):
        what = reasons.MoreMayBeThere(tuple(more))
        if step.decided_by is None or searcher.missing(place):
            work.mark(request, step, "unknown", what)
            return reasons.NotKnown((what,))
        return reasons.NotKnown((what,), step.decided_by)
    if alike := searcher.widened().alike(place):
        some = reasons.AlikeLeft(alike)
        if step.decided_by is None:
            work.mark(request, step, "found", some)
            return some
        if step.status == "retained":
            return reasons.StillThere((some,), _decided(step))
        return reasons.StillThereByWord((some,), step.decided_by)
    return clean
