"""Finding one person everywhere: by raw values, foreign keys, pseudonyms and membership lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Connections, Found
from airflow_mlsec.errors import AnotherRing, DatasetNotFound, EmptyDataset, MlsecError
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.ledger import Reason
from airflow_mlsec.lineage import deliver_to, settle_intents
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, subject_digest
from airflow_mlsec.subjects.search import _reasons as reasons
from airflow_mlsec.subjects.search._finding import Finding, Status
from airflow_mlsec.subjects.search._places import Place, places_of
from airflow_mlsec.subjects.search._scan import EVERYTHING, Scan, Scanner
from airflow_mlsec.subjects.search._search import Indistinguishable, Searcher

_THREADS = 4


@dataclass(frozen=True)
class Location:
    """All places where one person's data is or may be."""

    subject_kind: str
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether there is a definite answer for every place."""
        return all(finding.status not in ("unknown", "failed") for finding in self.findings)


def locate(
    register: Register,
    keys: KeyRing,
    kind: str,
    key: str,
    *,
    also: tuple[str, ...] = (),
    only: Mapping[str, str] = MappingProxyType({}),
    roots: tuple[str, ...] = (),
    connections: Connections | None = None,
    requested_by: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
    scan: Scan = EVERYTHING,
) -> Location:
    """Find the person of subject ``kind`` with this ``key`` (an e-mail address, a customer
    number) in every dataset, artifact and model; ``also`` are earlier keys of the person,
    and ``only`` distinguishes the person from others with the same key. What no key leads to is scanned as
    far as ``scan`` says. The look-up is recorded under a keyed digest.

    :raises UsageError: if no dataset of the register is about this kind of subject.
    """
    person = Person(kind, (key, *also), dict(only))
    location = search_everywhere(register, keys, person, roots, connections, progress, scan=scan)
    _record(register, keys, location, person, requested_by)
    return location


@keeps_open
def search_everywhere(
    register: Register,
    keys: KeyRing,
    person: Person,
    roots: tuple[str, ...] = (),
    connections: Connections | None = None,
    progress: Callable[[str], None] = lambda message: None,
    known: Mapping[str, Sequence[Sequence[Any]]] = MappingProxyType({}),
    scan: Scan = EVERYTHING,
) -> Location:
    """`locate` without recording the look-up; searches several places concurrently."""
    bind_ring(register, keys)
    settle_intents(register, connections)
    sent = deliver_to(register, keys, connections)
    if sent.accepted or sent.refused:
        progress(f"{sent.accepted} undelivered lineage events were kept and are read now")
    places = register.read(lambda connection: places_of(connection, person))
    searcher = Searcher(register, person, places, keys, connections, roots, known).widened()

    def look(place: Place) -> Finding:
        progress(f"searching {place.name}")
        return search_place(searcher, place)

    with ThreadPoolExecutor(_THREADS) as pool:
        findings = tuple(pool.map(look, places.all))
    return Location(person.kind, tuple(Scanner(searcher, scan, progress).complete(findings)))


def search_place(searcher: Searcher, place: Place) -> Finding:
    """What one place holds about the person; an error is also reported as a finding."""
    try:
        return _search(searcher, place)
    except Indistinguishable as error:
        return _finding(place, "unknown", None, (), error.reason)
    except AnotherRing:
        raise  # no result of this process, positive or negative, would mean anything
    except DatasetNotFound as error:
        if place.intended:
            return _finding(place, "unknown", None, (), reasons.PublicationOpen())
        if isinstance(error, EmptyDataset) and _is_empty(searcher, place):
            return _finding(place, "none", 0, (), reasons.NoRows())
        reason = reasons.CouldNotSearch(str(error))
        # In an object store, a place without objects does not exist; elsewhere it may have been moved, or a disk
        # is not mounted.
        can = place.capabilities
        proven = can is not None and can.absence_is_proof
        return replace(_finding(place, "failed", None, (), reason), absent=proven)
    except MlsecError as error:
        reason = reasons.CouldNotSearch(str(error))
    except Exception as error:
        # One place that cannot be read must not hide the others; its message may quote a value.
        reason = reasons.CouldNotSearch(f"unexpected {type(error).__name__}")
    return _finding(place, "failed", None, (), reason)


def _is_empty(searcher: Searcher, place: Place) -> bool:
    try:
        return searcher.is_empty(place)
    except MlsecError:
        return False


def _search(searcher: Searcher, place: Place) -> Finding:
    # A drop that an event reports counts only if a check shows that the place is gone.
    if searcher.is_gone(place):
        assert place.gone is not None
        dropped = reasons.PlaceDropped(place.gone[0], place.gone[1][:19])
        return _finding(place, "none", 0, (), dropped)
    if place.same_as is not None:
        name = searcher.places.by_id(place.same_as).name
        return _finding(place, "same", None, (), reasons.OtherName(name))
    if searcher.is_all_parts(place):
        return _finding(place, "none", 0, (), reasons.AllParts(len(place.parts)))
    if place.locators:
        return _by_value(searcher, place)
    texts = {column: hits for column, hits in searcher.text_rows(place).items() if hits}
    if texts:
        named = tuple(reasons.FreeTextIn(column, hits) for column, hits in sorted(texts.items()))
        said = _finding(place, "found", sum(texts.values()), named, reasons.FreeTextNames())
        return replace(said, free_text=True)
    release = searcher.places.releases.get(place.id)
    subject = release[-1].subject if release else None
    if release and (subject is None or subject.kind != searcher.person.kind):
        return _finding(place, "unknown", None, (), reasons.OtherSubjects())
    if release and searcher.changed_since_release(place):
        return _finding(place, "unknown", None, (), reasons.ChangedSinceEvidence())
    found = searcher.membership(place)
    if found is not None:
        member, statement = found
        if member and searcher.person.only:
            raise Indistinguishable(reasons.ListHasSharedKey())
        source = statement.target.name.rsplit("/", 1)[-1]
        if not member and searcher.alike_in(place):
            how = (reasons.MembershipSpelled(),)
            return replace(
                _finding(place, "found", None, how, reasons.SpellingToConfirm()), likeness=True
            )
        if place.intended and not member:
            return _finding(
                place, "unknown", None, (reasons.MembershipList(),), reasons.PublicationOpen()
            )
        made = reasons.ReleaseListed if release else reasons.MadeOfRelease
        listed = made(source, statement.plan[:12])
        return _finding(
            place, "found" if member else "none", None, (reasons.MembershipList(),), listed
        )
    if place.intended:
        return _finding(place, "unknown", None, (), reasons.PublicationOpen())
    if place.anonymous:
        return _finding(place, "none", 0, (), reasons.AnonymousRelease())
    why: Reason = reasons.NoMembershipList()
    if release:
        why = reasons.KeyRemoved(release[-1].plan[:12])
    elif place.unexplained:
        why = reasons.WrittenUnexplained()
    return _finding(place, "unknown", None, (), why)


def _by_value(searcher: Searcher, place: Place) -> Finding:
    by: list[Reason] = [
        x.described(searcher.versions(x), searcher.plausible_spellings(x)) for x in place.locators
    ]
    told: list[Reason] = list(dict.fromkeys(x.why for x in place.locators))
    if shared := searcher.shared(place):
        return _finding(place, "unknown", None, tuple(by), shared)
    searcher.refuse_mentions(place)
    found = searcher.rows(place, keep=False)
    rows, texts = found.rows, searcher.text_rows(place)
    for column, hits in texts.items():
        if hits:
            rows += hits
            by.append(reasons.FreeTextIn(column, hits))
    status: Status = "found" if rows else "none"
    if otherwise := searcher.alike(place):
        # Found, but nothing is done with it until somebody says that it is also the person's key.
        by.append(reasons.SpelledRows(otherwise))
        told.append(reasons.SpellingToConfirm())
        status = "found"
    if more := searcher.perhaps_other(place):
        told += more
        status = "found" if rows or otherwise else "unknown"
    if status == "found" and searcher.open(place).is_view():
        told.append(reasons.IsView())
    done = _finding(place, status, rows, tuple(by), *told, _effort(found))
    return replace(done, likeness=bool(otherwise), free_text=any(texts.values()))


def _finding(
    place: Place,
    status: Status,
    rows: int | None,
    found_by: tuple[Reason, ...],
    *why: Reason,
) -> Finding:
    columns = tuple(sorted({x.column for x in place.locators}))
    return Finding(place.name, place.kind, status, rows, found_by, why, place.id, columns)


def _effort(found: Found) -> Reason:
    if not found.rows_pruned:
        return reasons.RowsRead(found.rows_read)
    return reasons.RowsRuledOut(found.rows_read, found.rows_read + found.rows_pruned)


def _record(
    register: Register, keys: KeyRing, location: Location, person: Person, by: str | None
) -> None:
    values = {
        "kind": "locate",
        "subject_kind": location.subject_kind,
        "subject_digest": subject_digest(keys, person.kind, person.keys[0]),
        "status": "complete" if location.complete else "open",
        "requested_at": register.now(),
        "requested_by": by,
        "ledger": [
            {"dataset": f.dataset, "status": f.status, "rows": f.rows, "locator": str(f.locator)}
            for f in location.findings
        ],
    }
    register.write(lambda connection: connection.execute(sa.insert(t.request).values(values)))
