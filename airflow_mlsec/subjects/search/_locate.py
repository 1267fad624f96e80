"""Finding one person everywhere: through raw values, foreign keys, pseudonyms and lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Connections
from airflow_mlsec.errors import AnotherRing, DatasetNotFound, EmptyDataset, MlsecError
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.lineage import deliver_to, settle_intents
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, subject_digest
from airflow_mlsec.subjects.search._finding import Finding, Status
from airflow_mlsec.subjects.search._places import Place, places_of
from airflow_mlsec.subjects.search._scan import EVERYTHING, Scan, Scanner
from airflow_mlsec.subjects.search._search import CHANGED, INTENDED, Indistinguishable, Searcher

_THREADS = 4
_ALIKE = (
    "rows found by likeness are neither exported, erased nor put right until their spelling is confirmed as a key of "
    "the person (mlsec subject person --also -)"
)


@dataclass(frozen=True)
class Location:
    """Everywhere that one person's data is, or may be."""

    subject_kind: str
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether every place could be answered for."""
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
    number) in every dataset, artifact and model; ``also`` are keys that the person had before,
    and ``only`` tells them apart from others who have the same. What no key leads to is looked through as
    far as ``scan`` says. The look-up is recorded, under a keyed digest.

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
    """`locate` without a record: several places at once."""
    bind_ring(register, keys)
    settle_intents(register, connections)
    sent = deliver_to(register, keys, connections)
    if sent.accepted or sent.refused:
        progress(f"{sent.accepted} lineage events were kept undelivered, and are read now")
    places = register.read(lambda connection: places_of(connection, person))
    searcher = Searcher(register, person, places, keys, connections, roots, known).widened()

    def look(place: Place) -> Finding:
        progress(f"searching {place.name}")
        return search_place(searcher, place)

    with ThreadPoolExecutor(_THREADS) as pool:
        findings = tuple(pool.map(look, places.all))
    return Location(person.kind, tuple(Scanner(searcher, scan, progress).complete(findings)))


def search_place(searcher: Searcher, place: Place) -> Finding:
    """What one place holds of the person; an error is an answer as well."""
    try:
        return _search(searcher, place)
    except Indistinguishable as error:
        return _finding(place, "unknown", None, "none", str(error))
    except AnotherRing:
        raise  # nothing that this process finds, or does not, means anything
    except DatasetNotFound as error:
        if place.intended:
            return _finding(place, "unknown", None, "none", INTENDED)
        if isinstance(error, EmptyDataset) and _is_empty(searcher, place):
            return _finding(place, "none", 0, "none", "it is there, and has no rows")
        reason = f"could not be searched: {error}"
        # In a store of objects what has no objects is not there; elsewhere it was moved, or a disk is not mounted.
        can = place.capabilities
        proven = can is not None and can.absence_is_proof
        return replace(_finding(place, "failed", None, "none", reason), absent=proven)
    except MlsecError as error:
        reason = f"could not be searched: {error}"
    except Exception as error:
        # One place that cannot be read must not hide the others; its message may quote a value.
        reason = f"could not be searched: unexpected {type(error).__name__}"
    return _finding(place, "failed", None, "none", reason)


def _is_empty(searcher: Searcher, place: Place) -> bool:
    try:
        return searcher.is_empty(place)
    except MlsecError:
        return False


def _search(searcher: Searcher, place: Place) -> Finding:
    # What an event says was dropped counts only if a look shows that it is gone.
    if searcher.is_gone(place):
        assert place.gone is not None
        reason = f"lineage: {place.gone[0]} {place.gone[1][:19]}, and nothing is there any more"
        return _finding(place, "none", 0, "none", reason)
    if place.same_as is not None:
        name = searcher.places.by_id(place.same_as).name
        return _finding(
            place, "same", None, "none", f"another name of {name}, which is looked into"
        )
    if searcher.is_all_parts(place):
        reason = f"a folder; all {len(place.parts)} parts of it are places themselves"
        return _finding(place, "none", 0, "none", reason)
    if place.locators:
        return _by_value(searcher, place)
    texts = {column: hits for column, hits in searcher.text_rows(place).items() if hits}
    if texts:
        where = ", ".join(f"'{column}'" for column in sorted(texts))
        named = f"free text in column {where} ({sum(texts.values())} rows)"
        said = _finding(place, "found", sum(texts.values()), named, "free text names the person")
        return replace(said, free_text=True)
    release = searcher.places.releases.get(place.id)
    subject = release[-1].subject if release else None
    if release and (subject is None or subject.kind != searcher.person.kind):
        return _finding(place, "unknown", None, "none", "released under a policy of other subjects")
    if release and searcher.changed_since_release(place):
        return _finding(place, "unknown", None, "none", CHANGED)
    found = searcher.membership(place)
    if found is not None:
        member, statement = found
        if member and searcher.person.only:
            raise Indistinguishable(
                "the membership list has the key, which others share: whose it is cannot be told"
            )
        source = statement.target.name.rsplit("/", 1)[-1]
        if not member and searcher.alike_in(place):
            how = "membership list, by likeness: another spelling of the key"
            return replace(_finding(place, "found", None, how, _ALIKE), likeness=True)
        if place.intended and not member:
            return _finding(place, "unknown", None, "membership list", INTENDED)
        how = "signed release" if release else "lineage to the release"
        text = f"{how} {source}, plan {statement.plan[:12]}"
        return _finding(place, "found" if member else "none", None, "membership list", text)
    if place.intended:
        return _finding(place, "unknown", None, "none", INTENDED)
    if place.anonymous:
        reason = "anonymous: a verified release whose policy names who claims it"
        return _finding(place, "none", 0, "none", reason)
    if release:
        plan = release[-1].plan[:12]
        reason = f"signed release, plan {plan}: the key was removed and no membership list was kept"
        return _finding(place, "unknown", None, "none", reason)
    reason = "its sources reach here by lineage, and no membership list says who is in it"
    if place.unexplained:
        reason = "a run wrote it, and nothing says from what"
    return _finding(place, "unknown", None, "none", reason)


def _by_value(searcher: Searcher, place: Place) -> Finding:
    locator = "; ".join(
        x.described(searcher.versions(x), searcher.plausible_spellings(x)) for x in place.locators
    )
    evidence = "; ".join(dict.fromkeys(x.why for x in place.locators))
    if shared := searcher.shared(place):
        return _finding(place, "unknown", None, locator, shared)
    searcher.refuse_mentions(place)
    found = searcher.rows(place, keep=False)
    rows, texts = found.rows, searcher.text_rows(place)
    for column, hits in texts.items():
        if hits:
            rows += hits
            locator += f"; free text in column '{column}' ({hits} rows)"
    status: Status = "found" if rows else "none"
    if otherwise := searcher.alike(place):
        # Found, and nothing is done by it until somebody says that it is the person's key as well.
        locator = f"{locator}; by likeness: {otherwise} rows with another spelling of the key"
        evidence = f"{evidence}; {_ALIKE}"
        status = "found"
    if more := searcher.perhaps_other(place):
        evidence = "; ".join([evidence, *more])
        status = "found" if rows or otherwise else "unknown"
    if status == "found" and searcher.open(place).is_view():
        evidence = (
            f"{evidence}; a view: what it shows goes with the rows of the tables that it shows"
        )
    done = _finding(place, status, rows, locator, evidence, found.effort())
    return replace(done, likeness=bool(otherwise), free_text=any(texts.values()))


def _finding(
    place: Place,
    status: Status,
    rows: int | None,
    locator: str,
    evidence: str,
    searched: str | None = None,
) -> Finding:
    columns = tuple(sorted({x.column for x in place.locators}))
    return Finding(
        place.name, place.kind, status, rows, locator, evidence, searched, place.id, columns
    )


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
            {"dataset": f.dataset, "status": f.status, "rows": f.rows, "locator": f.locator}
            for f in location.findings
        ],
    }
    register.write(lambda connection: connection.execute(sa.insert(t.request).values(values)))
