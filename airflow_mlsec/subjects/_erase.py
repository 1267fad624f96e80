"""Erasing one person, place by place, so that it can be taken up again after a crash anywhere.

Order: legal holds, suppression list, then every place, children before the tables that they
refer to. What is to go where is worked out before anything goes, and kept sealed with the
request, since a foreign key cannot be followed any more when the parent is gone. Each place is
erased whole or not at all and is idempotent; the ledger says what was being done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyKind, KeyRing
from airflow_mlsec.datasets import Announce, Connections, open_dataset
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    ColumnMissing,
    MlsecError,
    Refused,
    UsageError,
)
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.register import Register, dataset_id, sole_writer
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._airflow import AIRFLOW, ERASABLE
from airflow_mlsec.subjects._copies import beyond_reach, in_hard_links, in_old_versions
from airflow_mlsec.subjects._finding import Finding
from airflow_mlsec.subjects._holds import Hold, holds_on
from airflow_mlsec.subjects._identity import (
    Confirmed,
    Person,
    Targets,
    live_references,
    seal,
    subject_digests,
)
from airflow_mlsec.subjects._locate import Location, search_everywhere, search_place
from airflow_mlsec.subjects._places import Place, Places, places_of
from airflow_mlsec.subjects._rebuilt import settle_rebuilt
from airflow_mlsec.subjects._receipt import make_receipt
from airflow_mlsec.subjects._recipients import Mail, ToBeToldByHand, add_recipients, tell
from airflow_mlsec.subjects._rectified import is_still_right
from airflow_mlsec.subjects._releases import renew_evidence
from airflow_mlsec.subjects._requests import (
    ANSWERING,
    CORRECTING,
    ERASING,
    NO_FILES,
    NOT_APPROVED,
    RESTRICTING,
    Request,
    Step,
    change,
    covers,
    get_request,
    not_handed_over,
    note,
    person_of,
    record_location,
    require_ready,
    reseal,
    set_step,
    take_back,
    targets_of,
    write_step,
)
from airflow_mlsec.subjects._rules import rules_in_force
from airflow_mlsec.subjects._scan import EVERYTHING, Scan, Scanner
from airflow_mlsec.subjects._search import (
    LEFT,
    RECTIFIED,
    RULES,
    WORKED_OUT,
    Indistinguishable,
    Searcher,
    is_below,
)
from airflow_mlsec.subjects._suppression import listed_as, suppress
from airflow_mlsec.subjects._vaults import empty_vaults
from airflow_mlsec.subjects._verify import rescan

# Of a rectification, that something was done about it.
_ACTED = ("rectified", "manual")
_TODO = ("found", "erasing", "failed")
# By a person's decision, or the law's.
_DECIDED = ("manual", "rebuilt", "retained", "none")
_LOOKED_AT_AGAIN = ("erased", *_DECIDED)


@dataclass(frozen=True)
class Handler:
    """Works on requests: with which register, keys and connections, and in whose name."""

    register: Register
    keys: KeyRing
    by: str
    connections: Connections | None = None
    roots: tuple[str, ...] = ()
    progress: Callable[[str], None] = field(default=lambda message: None)
    # How far places are looked through to which no key leads.
    scan: Scan = EVERYTHING
    # Whether old versions of objects go as well, where a bucket keeps them.
    old_versions: bool = False

    def __post_init__(self) -> None:
        bind_ring(self.register, self.keys)

    def locate(self, identifier: int) -> Request:
        """Find the person everywhere and write it into the ledger."""
        request = get_request(self.register, identifier)
        person = person_of(self.register, self.keys, request)
        self._say_what_was_left(request, person)
        location = search_everywhere(
            self.register,
            self.keys,
            person,
            self.roots,
            self.connections,
            self.progress,
            # With a parent gone, nothing but what was worked out before leads to its children.
            self._worked_out(request, self.places(person)),
            self.scan,
        )
        location = self._with_what_was_found(request, person, location)
        record_location(self.register, identifier, location, self.by, request)
        return settle_rebuilt(self.register, identifier, self.by)

    def look(self, identifier: int) -> Request:
        """What `locate` would find, with nothing written."""
        request = get_request(self.register, identifier)
        person = person_of(self.register, self.keys, request)
        location = search_everywhere(
            self.register, self.keys, person, self.roots, self.connections, self.progress,
            scan=self.scan,
        )  # fmt: skip
        steps = tuple(_as_step(f) for f in location.findings)
        return replace(request, steps=steps)

    def erase(self, identifier: int) -> Request:
        """Erase the person wherever the ledger says that she was found.

        A place that cannot be erased has failed, and keeps the request open; the others are.

        :raises Refused: if the request is not one of erasure, or not approved.
        """
        request = self.prepare(identifier)
        for step in self.order(request):
            self.erase_place(identifier, step.id)
        return self.notify(identifier)

    def notify(self, identifier: int, mail: Mail | None = None) -> Request:
        """Tell the recipients who were not told yet; ``mail`` sends to (address, subject, text)."""
        request = get_request(self.register, identifier)
        if request.status != "restricted":
            _allowed(request)
        person = person_of(self.register, self.keys, request)
        signing = self.keys.ensure("signing", KeyKind.SIGNING)
        for step in request.steps:
            if step.kind != "recipient" or step.status not in ("unknown", "failed"):
                continue
            self.progress(f"telling {step.name}")
            try:
                how = tell(request, step, person, signing, mail)
            except ToBeToldByHand as error:
                self.mark(request, step, "unknown", str(error), attempts=step.attempts + 1)
            except CheckFailed as error:
                self.mark(request, step, "failed", str(error), attempts=step.attempts + 1)
            else:
                self.mark(request, step, "notified", how, attempts=step.attempts + 1)
        return get_request(self.register, identifier)

    def prepare(self, identifier: int) -> Request:
        """What comes before anything goes: targets, legal holds, suppression list.

        :raises Refused: if the request is not one of erasure, or not approved.
        """
        request = get_request(self.register, identifier)
        _allowed(request)
        person = person_of(self.register, self.keys, request)
        places = self.places(person)
        searcher = self.searcher(person, places)
        searcher.require_one_person()
        self._seal_targets(request, searcher)
        self._hold(request)
        self.register.write(lambda c: add_recipients(c, request, places.all, self.register.now()))
        self._suppress(identifier, searcher)
        return change(self.register, identifier, self.by, "erasure begun", {"status": "erasing"})

    def _list(self, request: Request) -> None:
        """Put the person on the suppression list by what is known now."""
        person = person_of(self.register, self.keys, request)
        known = targets_of(self.register, self.keys, request)
        searcher = self.searcher(person, self.places(person), known)
        searcher.require_one_person()
        self._suppress(request.id, searcher)

    def _suppress(self, identifier: int, searcher: Searcher) -> None:
        listed, now, kind = listed_as(searcher), self.register.now(), searcher.person.kind
        self.register.write(lambda c: suppress(c, self.keys, kind, listed, identifier, now))

    def order(self, request: Request) -> list[Step]:
        """Places that are to be erased, children before their parents."""
        places = self.places(person_of(self.register, self.keys, request))
        order = {place.id: i for i, place in enumerate(places.all)}
        todo = [s for s in request.steps if s.status in _TODO and s.dataset_id in order]
        stores = [s for s in request.steps if s.status in _TODO and s.name == ERASABLE]
        return [*sorted(todo, key=lambda s: -order[s.dataset_id or 0]), *stores]

    def erase_place(self, identifier: int, step_id: int) -> Request:
        """Erase the person in one place. Done again it changes nothing.

        :raises Refused: if the request is not one of erasure, or not approved.
        """
        request = get_request(self.register, identifier)
        _allowed(request)
        step = next((s for s in request.steps if s.id == step_id), None)
        if step is None or (step.dataset_id is None and step.name != ERASABLE):
            raise UsageError(f"request {identifier} has no place number {step_id}")
        if step.status not in _TODO:
            return request
        if step.dataset_id is None:
            return self._erase_in_airflow(request, step)
        targets = targets_of(self.register, self.keys, request)
        if targets is None:
            raise Refused(f"request {identifier}: nothing was worked out to be erased; start over")
        person = person_of(self.register, self.keys, request)
        places = self.places(person)
        place = places.by_id(step.dataset_id)
        if not covers(request, step):
            detail = (
                "only other programs' lineage names it: it has to be approved by name (--place)"
            )
            return self.mark(request, step, "found", detail)
        reason = place.policy.get("erasure") if place.policy else None
        if reason:
            return self.mark(request, step, "retained", f"kept by law: {reason['retain']}")
        if holds := self.holds(request, place.id):
            return self.mark(request, step, "retained", holds)
        mine = targets.get(str(place.id))
        if mine is None and place.locators:
            return request  # it could not be searched yet: locate again first
        if waiting := self._children(request, places, place, ("failed", "unknown")):
            detail = f"waits for {waiting[0]}, whose rows can only be found through this place"
            return self.mark(request, step, "found", detail)
        if kept := self._children(request, places, place, ("retained",)):
            detail = f"rows of {kept[0]}, which are kept, refer to it: a person decides"
            return self.mark(request, step, "found", detail)
        if not mine and step.likeness:
            detail = "found by likeness: confirm that it is the person's (mlsec subject confirm), or deal with it"
            return self.mark(request, step, "found", detail)
        if not mine:
            how = "by its own DAG, without the person, or release it with the reason"
            return self.mark(
                request, step, "found", f"no rows to delete: rebuild or retrain it {how}"
            )
        self._still_approved(request, step, place, self.searcher(person, places, targets), mine)
        # Written first: whoever takes this up after a crash knows that it may be half done.
        if not self._begin(step):
            self.progress(f"{place.name} is being erased from by another process")
            return get_request(self.register, identifier)
        searcher = self.searcher(person, places, targets)
        broken = None
        try:
            # A file that is not the one of its evidence, or that we left, gets no new evidence by being erased from.
            ours = not searcher.changed_since_release(place) or self._was_left_so(
                request, searcher, place
            )
            linked = in_hard_links(place)
            before = _issued(places, place) if ours and place.stage == "release" else None
            announced = self._announced(request, step, place, person, before)
            with sole_writer(self.register, place.uri or ""):
                removed = _delete(searcher, place, mine, announced)
            if linked is not None and removed:
                self.register.write(
                    lambda c: write_step(c, request.id, linked, self.register.now())
                )
            if ours:
                broken = self._renew_evidence(request, searcher, place)
        except MlsecError as error:
            return self.mark(request, step, "failed", f"could not be erased: {error}")
        except Exception as error:
            reason = f"could not be erased: unexpected {type(error).__name__}"
            return self.mark(request, step, "failed", reason)
        self.progress(f"{removed} rows erased in {place.name}")
        said = place.mentions(person.kind)
        stays = {c: n for c, n in searcher.mentioned(place).items() if said[c] == "keep"}
        if stays:
            listed = ", ".join(f"{n} in '{c}'" for c, n in sorted(stays.items()))
            detail = f"{removed} rows erased; rows that mention the person are kept by the policy: {listed}"
            return self.mark(request, step, "retained", detail)
        now = next(s for s in get_request(self.register, identifier).steps if s.id == step.id)
        if now.status != "erasing":
            return get_request(self.register, identifier)  # another process was faster
        if step.status == "found" and step.rows and not removed and "free text" not in step.locator:
            detail = f"{step.rows} rows were found, and none of them could be removed"
            return self.mark(request, step, "failed", detail)
        if "free text" in step.locator:
            detail = "rows erased; the person is named in free text, which a person must redact"
            return self.mark(request, step, "found", detail)
        if more := searcher.perhaps_more(place):
            detail = f"{removed} rows erased; more may be there: {', '.join(more)}"
            return self.mark(request, step, "unknown", detail)
        if step.likeness and (alike := searcher.widened().alike(place)):
            detail = f"{removed} rows erased; {alike} are there by likeness: confirm that they are the person's, or deal with them"
            return self.mark(request, step, "found", detail)
        detail = f"rows that are the person's: {step.rows or removed}"
        if broken:
            detail += f"; without them the release does not hold what its policy promises: {broken}"
        done = self.mark(request, step, "erased", detail)
        self._look_at_copies(request.id, place)
        return done

    def _begin(self, step: Step) -> bool:
        """Take a step up; whether nobody else has since it was read."""
        s = t.request_step.c
        mine = sa.update(t.request_step).where(
            s.id == step.id, s.status == step.status, s.attempts == step.attempts
        )
        values = {"status": "erasing", "attempts": step.attempts + 1}
        taken = mine.values(**values, changed_at=self.register.now())
        return self.register.write(lambda c: int(c.execute(taken).rowcount)) == 1

    def _left(self, request: Request, places: Places, place: Place) -> list[str]:
        """The digests of the files that this request's erasures have left of the release that is there."""
        targets = targets_of(self.register, self.keys, request) or {}
        now = [place.id, _issued(places, place)]
        return [left[1] for left in targets.get(LEFT, []) if [left[0], *left[2:]] == now]

    def _renew_evidence(self, request: Request, searcher: Searcher, place: Place) -> str | None:
        """Give a release that this request's erasures have left its evidence: see `renew_evidence`."""
        left = self._left(request, searcher.places, place)
        opened = searcher.open(place)
        return renew_evidence(
            self.register, self.keys, searcher.places, place, opened, left, request.id
        )

    def _say_what_was_left(self, request: Request, person: Person) -> None:
        """Give files of releases the evidence that an erasure which was killed has not given them."""
        known = targets_of(self.register, self.keys, request)
        if not known or not known.get(LEFT):
            return
        places = self.places(person)
        searcher = self.searcher(person, places, known)
        for place in places.all:
            if not self._left(request, places, place):
                continue
            with contextlib.suppress(MlsecError):  # what cannot be read is told by looking
                if searcher.changed_since_release(place):
                    self._renew_evidence(request, searcher, place)

    def _was_left_so(self, request: Request, searcher: Searcher, place: Place) -> bool:
        """Whether a release's file is the one that an erasure which was killed has left."""
        digest = searcher.open(place).digest()
        return digest is not None and digest in self._left(request, searcher.places, place)

    def _announced(
        self, request: Request, step: Step, place: Place, person: Person, before: str | None
    ) -> Announce:
        """What is asked and kept at the last moment before rows go; ``before`` is when the evidence of a release was
        issued that is there, if it is that release.

        Rewriting takes a while, in which a hold may have been placed, or the identity refused. The digest of what a
        release's file will be is kept: until its evidence says so, nothing else tells it from a stranger's.
        """

        def still(digest: str | None) -> None:
            now = get_request(self.register, request.id)
            _allowed(now)
            if person_of(self.register, self.keys, now) != person or not covers(now, step):
                raise ChangedMeanwhile(
                    f"request {request.id} was changed while {place.name} was being rewritten: not all was erased there"
                )
            if held := self.holds(now, place.id):
                raise Refused(f"{place.name}: {held}")
            if digest is not None and before is not None:
                reseal(
                    self.register, self.keys, request.id,
                    lambda whom, known: (whom, _with_left(known or {}, place.id, digest, before)),
                )  # fmt: skip

        return still

    def _look_at_copies(self, identifier: int, place: Place) -> None:
        """Write into the ledger what a bucket keeps of a place; what somebody settled stays so while no more
        is there."""
        told = in_old_versions(place, self.connections, self.old_versions)
        if told is None:
            return
        finding, gone = told
        request = get_request(self.register, identifier)
        step = next((s for s in request.steps if s.name == finding.dataset), None)
        if step is None and finding.status == "none":
            return
        if step is not None and not gone:
            if step.status == "erased" and finding.status == "none":
                return
            fewer = finding.rows is not None and finding.rows <= (step.rows or 0)
            decided = step.status in _DECIDED and step.status != "none"
            if decided and (finding.status == "unknown" or (fewer and finding.rows)):
                return
        now = self.register.now()
        self.register.write(lambda c: write_step(c, identifier, finding, now))

    def _erase_in_airflow(self, request: Request, step: Step) -> Request:
        """Remove the person from those of Airflow's own stores that its API can delete from."""
        assert request.approved is not None
        if self.scan.airflow is None:
            return self.mark(request, step, "failed", "Airflow's API cannot be reached from here")
        person = person_of(self.register, self.keys, request)
        known = targets_of(self.register, self.keys, request)
        searcher = self.searcher(person, self.places(person), known).widened()
        self.mark(request, step, "erasing", step.detail, attempts=step.attempts + 1)
        try:
            at_most = request.approved["places"].get(step.name) or 0
            shared = any(said.column == ERASABLE for said in person.confirmed)
            removed = self.scan.airflow.erase(searcher.needles, at_most, shared)
        except MlsecError as error:
            return self.mark(request, step, "failed", f"could not be erased: {error}")
        self.progress(f"{removed} entries erased in {step.name}")
        detail = f"{removed} entries of XCom and state erased"
        if step.likeness:
            return self.mark(
                request, step, "found", f"{detail}; what is there by likeness a person looks at"
            )
        return self.mark(request, step, "erased", detail)

    def _still_approved(
        self,
        request: Request,
        step: Step,
        place: Place,
        searcher: Searcher,
        targets: list[list[Any]],
    ) -> None:
        """:raises Refused: if rows are found by other columns, or more are there, than were approved."""
        assert request.approved is not None
        by = request.approved.get("columns", {}).get(step.name, [])
        others = sorted({x.column for x in place.locators} - set(by))
        if others:
            take_back(
                self.register, request.id, f"{place.name} by column {', '.join(others)}", self.by
            )
        try:
            dataset = searcher.open(place)
            meant = searcher.as_targets(place, dataset, dict(targets))
            rows = sum(dataset.find_in(x.column, x.values, False, x.also).rows for x in meant)
        except MlsecError:
            return  # what cannot be read cannot be erased either, and says so
        if rows > (request.approved["places"].get(step.name) or 0):
            why = f"{rows} rows in {place.name}"
            take_back(self.register, request.id, why, self.by)

    def verify(self, identifier: int) -> dict[str, str]:
        """Look again, with other code, at every place that was erased; by place what was found.
        Where the person still is, the step is open again.

        :raises Refused: if nothing was erased.
        """
        request = get_request(self.register, identifier)
        targets = targets_of(self.register, self.keys, request)
        if targets is None:
            raise Refused(f"request {identifier}: nothing was erased yet")
        person = person_of(self.register, self.keys, request)
        outcome: dict[str, str] = {}
        searcher = self.searcher(person, self.places(person), targets)
        places = {place.id: place for place in searcher.places.all}
        stores: list[Finding] | None = None
        for step in request.steps:
            place = places.get(step.dataset_id or 0)
            if step.kind == AIRFLOW and step.status in _LOOKED_AT_AGAIN:
                if stores is None:
                    stores = Scanner(searcher.widened(), self.scan, self.progress).airflow()
                outcome[step.name] = self._still_in_airflow(request, step, stores)
                continue
            if step.dataset_id is None and step.kind not in NO_FILES and step.status in _DECIDED:
                outcome[step.name] = self._still_below_a_root(request, step, searcher)
                continue
            if place is None or step.status not in _LOOKED_AT_AGAIN:
                continue
            self.progress(f"looking again at {place.name}")
            if not place.locators:
                if step.status in _DECIDED:
                    outcome[step.name] = self._still_in(request, step, place, searcher)
                continue
            if step.status == "none" and place.gone is not None:
                continue
            known = {column: set(texts) for column, texts in targets.get(str(place.id), ())}
            outcome[step.name] = self._look_again(request, step, place, known, searcher)
        for place in searcher.places.all:
            if any(s.dataset_id == place.id and s.status == "erased" for s in request.steps):
                self._look_at_copies(identifier, place)
        note(self.register, identifier, self.by, f"looked again at {len(outcome)} places")
        return outcome

    def _still_in(self, request: Request, step: Step, place: Place, searcher: Searcher) -> str:
        """What a list of members says of a place that somebody settled and nobody can look into."""
        if step.status == "rebuilt" and step.decided_by is None:
            return f"rebuilt ({step.detail})"
        scanner = Scanner(searcher.widened(), self.scan, self.progress)
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
        self.mark(request, step, "found", detail)
        return f"still there ({finding.evidence})"

    def _still_in_airflow(self, request: Request, step: Step, stores: list[Finding]) -> str:
        """What another look at Airflow's own stores says."""
        finding = next((f for f in stores if f.dataset == step.name), None)
        if finding is None or finding.status == "unknown":
            why = finding.evidence if finding else "Airflow's API cannot be reached from here"
            if step.status == "erased":
                self.mark(request, step, "unknown", f"could not be looked at again: {why}")
            return f"not looked into: {why}"
        if finding.status != "found":
            return f"clean ({finding.evidence})"
        return self._still_found(request, step, finding)

    def _still_below_a_root(self, request: Request, step: Step, searcher: Searcher) -> str:
        """What a scan says of a file that no lineage names, and that somebody has settled."""
        finding = Scanner(searcher.widened(), self.scan, self.progress).file(step.name)
        if finding.status != "found":
            return f"{finding.status} ({finding.evidence})"
        return self._still_found(request, step, finding)

    def _still_found(self, request: Request, step: Step, finding: Finding) -> str:
        """What is to be said of what was settled, and a scan has found again; the step is open again, unless
        somebody keeps it."""
        if step.status == "retained":
            return f"still there, by decision of {step.decided_by} ({finding.locator})"
        by = f" by {step.decided_by}" if step.decided_by else ""
        detail = f"settled as {step.status}{by}, and still there by {finding.locator}"
        self.mark(request, step, "found", detail)
        return f"still there ({finding.locator})"

    def _with_what_was_found(
        self, request: Request, person: Person, location: Location
    ) -> Location:
        """With what became of files that an earlier scan has found and this one has not."""
        told = {finding.dataset for finding in location.findings}
        gone = [
            step
            for step in request.steps
            if step.dataset_id is None and step.kind not in NO_FILES and step.name not in told
        ]
        if not gone:
            return location
        scanner = Scanner(self.searcher(person, self.places(person)).widened(), self.scan)
        now = tuple(scanner.file(step.name) for step in gone)
        return replace(location, findings=(*location.findings, *now))

    def confirm(self, identifier: int, name: str, column: str, reason: str) -> Request:
        """A person says that rows which were found by likeness are the requester's: those of a place that
        have in ``column`` anything that the key may have become, as a whole value. What is done with them
        has to be approved anew.

        :raises UsageError: if the place was not found by likeness, has no such column, or nothing like the
            key stands there as a whole value.
        """
        if not reason.strip():
            raise UsageError(
                "say how it is known that the rows are the person's: an auditor will ask"
            )
        request = get_request(self.register, identifier)
        fitting = [s for s in request.steps if s.name == name or s.name.endswith(f"/{name}")]
        if len(fitting) != 1 or not fitting[0].likeness or fitting[0].status != "found":
            listed = ", ".join(s.name for s in request.steps if s.likeness) or "none"
            raise UsageError(
                f"'{name}' is no place that was found by likeness; those are: {listed}"
            )
        step, person = fitting[0], person_of(self.register, self.keys, request)
        if step.name == ERASABLE:
            # Entries of which a whole value is hers go, whoever else stands in them.
            sure = replace(person, confirmed=(*person.confirmed, Confirmed(0, ERASABLE, self.by)))
            return self._confirmed(request, sure, f"entries of {ERASABLE} may go: {reason}")
        dataset = step.dataset_id
        if dataset is None:
            opened = open_dataset(_uri_of(step.name), self.connections)
            if not any(is_below(opened.uri, root) for root in self.roots):
                raise UsageError(f"{step.name} lies below no folder of [mlsec] data_roots")
        else:
            places = self.places(person)
            opened = self.searcher(person, places).open(places.by_id(dataset))
        present = opened.schema().names
        if (
            column.startswith("#")
            and column[1:].isdecimal()
            and 0 < int(column[1:]) <= len(present)
        ):
            column = present[int(column[1:]) - 1]
        if column not in present:
            # Its columns are not listed: without a header they are values.
            raise ColumnMissing(f"{step.name} has no column of that name; it has {len(present)}")
        if dataset is None:
            # Without a URI of its own: it is opened below the data roots alone, whatever it is by then.
            named, now = opened.name, self.register.now()
            dataset = self.register.write(lambda c: dataset_id(c, named.namespace, named.name, now))
        said = Confirmed(dataset, column, self.by)
        sure = replace(person, confirmed=tuple(dict.fromkeys([*person.confirmed, said])))
        places = self.places(sure)
        if not self.searcher(sure, places).widened().likenesses(places.by_id(dataset), column):
            raise UsageError(
                f"that column of {step.name} has neither key, hash nor pseudonym of it as a whole value: another spelling "
                "has to be confirmed as a key (mlsec subject person --also -), and what stands within longer text is "
                "dealt with by hand (mlsec subject settle)"
            )
        number = present.index(column) + 1
        what = f"confirmed: column {number} of {step.name} is about the person: {reason}"
        at = dataset

        def work(connection: sa.Connection) -> None:
            # From now on it is what the register calls it: a table of a database, for one.
            query = sa.select(t.dataset.c.kind).where(t.dataset.c.id == at)
            kind = connection.execute(query).scalar_one()
            now = self.register.now()
            set_step(connection, step.id, now, dataset_id=at, kind=kind)

        self.register.write(work)
        return self._confirmed(request, sure, what)

    def _confirmed(self, request: Request, person: Person, what: str) -> Request:
        """Keep what was confirmed, and look again; what is to be done has to be approved anew."""
        targets = targets_of(self.register, self.keys, request)
        values = {"sealed": seal(self.keys, person, targets), "status": "located", **NOT_APPROVED}
        change(self.register, request.id, self.by, what, values, acted=True)
        return self.locate(request.id)

    def _look_again(
        self,
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
            searcher.open(place)  # what may not be opened is not looked at either
            others = {place.telling[n]: v for n, v in person.only.items() if n in place.telling}
            exact = searcher.has_exact_keys(place)
            found = rescan(
                place.uri or "", anywhere, own, self.connections, others, place.parts, exact
            )
        except MlsecError as error:
            self.mark(request, step, "failed", f"could not be looked at again: {error}")
            return f"failed: {error}"
        if found.rows and step.status == "retained":
            return f"still there: {found.rows} rows ({found.how}), by decision of {step.decided_by or 'the policy or the law'}"
        if found.rows and step.status == "manual" and len(others) < len(person.only):
            # Nothing there tells the people who share the key apart, so a person did.
            return f"{found.rows} rows have a key that others share; which are left is by word of {step.decided_by}"
        if found.rows:
            detail = f"{found.rows} rows still name the person ({found.how})"
            self.mark(request, step, "found", detail)
            return f"{found.rows} rows left ({found.how})"
        if any(x.likeness for x in place.locators):
            left = Scanner(searcher.widened(), self.scan, self.progress).beside(place)
            if left and step.status != "retained":
                detail = f"likeness is left: {'; '.join(hit.described() for hit in left)}"
                self.register.write(
                    lambda c: set_step(c, step.id, self.register.now(), likeness=True)
                )
                self.mark(request, step, "found", detail)
                return detail
        # What changed may be an older release, under versions of keys that the newest evidence does not name.
        if more := searcher.perhaps_other(place):
            detail = f"more may be there: {', '.join(more)}"
            if step.decided_by is None or searcher.missing(place):
                self.mark(request, step, "unknown", detail)
                return f"unknown: {detail}"
            return f"not known: {detail}; by word of {step.decided_by}"
        if alike := searcher.widened().alike(place):
            detail = f"{alike} rows are there by likeness: another spelling of the key"
            if step.decided_by is None:
                self.mark(request, step, "found", detail)
                return detail
            how = "by decision" if step.status == "retained" else "by word"
            return f"still there: {detail}, {how} of {step.decided_by}"
        return f"clean ({found.how})"

    def searcher(self, person: Person, places: Places, known: Targets | None = None) -> Searcher:
        """What looks the person up; ``known`` is what an erasure has worked out."""
        given = (self.register, person, places, self.keys, self.connections, self.roots)
        return Searcher(*given, known or {})

    def close(self, identifier: int) -> tuple[Request, str | None]:
        """Close a request whose every place is settled; the request with its signed receipt, and
        the salt for the person (None, if it was closed before).

        :raises CheckFailed: if a place is unknown, failed or not settled.
        """
        request = get_request(self.register, identifier)
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
        about = person_of(self.register, self.keys, request)
        if request.kind in ERASING and request.approved_by:
            # First: a release that comes while places are looked at is refused, or seen.
            self._list(request)
        # Places may have come, or been filled again, since anybody looked.
        request = self.locate(identifier)
        if request.kind in ERASING and request.approved_by:
            self.prepare(identifier)
            verified = self.verify(identifier)
        if request.kind in CORRECTING:
            self._look_at_rectified(request)
        request = get_request(self.register, identifier)
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
        person = person_of(self.register, self.keys, request)
        if person != about:
            raise ChangedMeanwhile(
                f"request {identifier}: who it is about was changed while it was being closed"
            )
        if request.kind in ERASING and not request.approved_by:
            _allowed(request)
        if request.kind in ERASING:
            self._tell_beyond_reach(request, person)
            targets = targets_of(self.register, self.keys, request) or {}
            empty_vaults(self.register, request, person, self.places(person), targets)
            request = get_request(self.register, identifier)
        now = self.register.now()
        signing = self.keys.ensure("signing", KeyKind.SIGNING)
        zone = rules_in_force(self.register).rules.time_zone
        # Somebody's key may stand in a file's name.
        shown = self.searcher(person, self.places(person)).widened().needles.without
        receipt, salt = make_receipt(request, person, verified, now, signing, zone, shown)
        # With the receipt written, nobody needs to know any more whom it was about.
        values = {"status": "closed", "closed_at": now, "receipt": receipt, "sealed": None}
        change(self.register, identifier, self.by, "closed, receipt signed", values, seen=request)
        return get_request(self.register, identifier), salt

    def _look_at_rectified(self, request: Request) -> None:
        """Whether what was put right still is: it may have been loaded again as it was."""
        person = person_of(self.register, self.keys, request)
        known = targets_of(self.register, self.keys, request) or {}
        searcher = self.searcher(person, self.places(person), known)
        steps = {step.dataset_id: step for step in request.steps if step.status == "rectified"}
        places = {place.id: place for place in searcher.places.all}
        for place_id, column, text in known.get(RECTIFIED, []):
            step, place = steps.get(place_id), places.get(place_id)
            if step is None or place is None:
                continue
            try:
                right = is_still_right(searcher, place, column, text)
            except MlsecError as error:
                self.mark(request, step, "failed", f"could not be looked at again: {error}")
                continue
            if not right:
                detail = f"column '{column}' has another value again: put it right again"
                self.mark(request, step, "unknown", detail)

    def _tell_beyond_reach(self, request: Request, person: Person) -> None:
        places = self.places(person)
        changed = {s.dataset_id for s in request.steps if s.status == "erased"}
        searcher = self.searcher(person, places)
        told = beyond_reach(
            [place for place in places.all if place.id in changed], searcher.tags(changed)
        )
        if told is not None:
            now = self.register.now()
            self.register.write(lambda c: write_step(c, request.id, told, now))

    # --- parts

    def changed_uris(self, request: Request) -> list[str]:
        """Datasets from which the person was erased, or put right, or in which she is restricted:
        what was made from them has to be made anew."""
        changed = {s.dataset_id for s in request.steps if s.status in ("erased", "rectified")}
        if request.status == "restricted":
            changed |= {s.dataset_id for s in request.steps if s.status == "retained"}
        person = person_of(self.register, self.keys, request)
        return [p.uri for p in self.places(person).all if p.id in changed and p.uri]

    def _children(
        self, request: Request, places: Places, parent: Place, states: tuple[str, ...]
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

    def places(self, person: Person) -> Places:
        """Everywhere that a person's data can be."""
        return self.register.read(lambda c: places_of(c, person))

    def _seal_targets(self, request: Request, searcher: Searcher) -> None:
        """Work out, and keep, by which texts the person is named in which column of each place.
        What was worked out before stays, since its parents may be gone by now; what was found
        since is added."""
        found = self._worked_out(request, searcher.places)
        failed = {step.dataset_id for step in request.steps if step.status == "failed"}
        worked_out = [list(entry) for entry in found.get(WORKED_OUT, ())]
        for place in searcher.places.all:
            if not place.locators or place.id in failed:
                continue
            columns: dict[str, list[str]] = {c: list(t) for c, t in found.get(str(place.id), ())}
            # Where people cannot be told apart nothing is erased; the place stays unknown.
            try:
                searcher.refuse_mentions(place)
                for locator in place.locators:
                    mine = searcher.texts_at(place, locator)
                    columns.setdefault(locator.column, []).extend(mine)
                    for version, fingerprint in locator.versions:
                        entry = [place.id, locator.key, version]
                        usable = self.keys.usable(str(locator.key), version, fingerprint)
                        if usable and entry not in worked_out:
                            worked_out.append(entry)
            except Indistinguishable:
                pass
            except UsageError as error:
                # Somebody has moved it since it was found: the others go on, what it refers to waits.
                for step in (s for s in request.steps if s.dataset_id == place.id):
                    self.mark(request, step, "failed", f"could not be searched: {error}")
                continue
            listed = {c: list(dict.fromkeys(texts)) for c, texts in columns.items()}
            found[str(place.id)] = [[c, texts] for c, texts in listed.items() if texts]
        found[WORKED_OUT] = worked_out
        found[RULES] = [list(entry) for entry in rules_of(searcher.places)]

        def sealed(whom: Person, known: Targets | None) -> tuple[Person, Targets]:
            # What places have left meanwhile stays.
            left = {LEFT: known[LEFT]} if known and LEFT in known else {}
            return whom, {**found, **left}

        reseal(self.register, self.keys, request.id, sealed)

    def _worked_out(self, request: Request, places: Places) -> Targets:
        """What an erasure has worked out before, under the policies of today.

        :raises Refused: if policies have changed since, and something is erased already: what is hers by the one rule
            and not by the other nobody can tell any more.
        """
        found = targets_of(self.register, self.keys, request) or {}
        now = dict(rules_of(places))
        changed = [
            place for place, digest in found.get(RULES, ()) if now.get(place, digest) != digest
        ]
        if not changed:
            return found
        if any(step.status in ("erased", "erasing") for step in request.steps):
            names = ", ".join(places.by_id(place).name for place in changed[:3])
            raise Refused(
                f"request {request.id}: the policy of {names} says otherwise now whose rows are whose, and some are erased "
                "by what it said before; say anew who the request is about (mlsec subject person), which starts over"
            )
        return {}

    def _hold(self, request: Request) -> None:
        """Mark places that a legal hold keeps, and those that one kept and keeps no more."""
        digests = self.hold_digests(request)
        for step in request.steps:
            if step.dataset_id is None or step.status not in (*_TODO, "retained"):
                continue
            holds = self.holds(request, step.dataset_id, digests)
            was_held = step.status == "retained" and step.detail.startswith(_HELD)
            if holds and step.status != "retained":
                self.mark(request, step, "retained", holds)
            elif was_held and not holds:
                self.mark(request, step, "found", "no legal hold keeps it any more")

    def hold_digests(self, request: Request) -> set[str]:
        """Under which digests legal holds on the person may stand."""
        person = person_of(self.register, self.keys, request)
        searcher = self.searcher(person, self.places(person))
        return subject_digests(self.keys, person.kind, searcher.all_names(), searcher.forms())

    def holds(self, request: Request, dataset: int, digests: Collection[str] | None = None) -> str:
        """The legal holds in force on the person, under any of her keys, in one dataset."""
        mine = self.hold_digests(request) if digests is None else digests
        versions = live_references(self.keys)
        found = self.register.read(
            lambda c: holds_on(c, request.subject_kind, mine, versions, dataset)
        )
        return "; ".join(_held(hold, mine) for hold in found)

    def mark(self, request: Request, step: Step, status: str, detail: str, **more: Any) -> Request:
        """Write what became of a place into the ledger and the history."""
        now = self.register.now()
        self.register.write(
            lambda c: set_step(c, step.id, now, status=status, detail=detail, **more)
        )
        if status != "erasing":
            note(self.register, request.id, self.by, f"{step.name}: {status}")
        return get_request(self.register, request.id)


def rules_of(places: Places) -> list[tuple[int, str]]:
    """By place that has a policy, the digest of what it says of whose rows they are."""
    found = []
    for place in places.all:
        if place.subject is not None:
            text = json.dumps(dict(place.subject), sort_keys=True)
            found.append((place.id, hashlib.sha256(text.encode()).hexdigest()))
    return sorted(found)


def _as_step(found: Finding) -> Step:
    return Step(
        0, found.kind, found.dataset, found.dataset_id, found.status, found.rows, found.locator,
        found.evidence, 0, "", likeness=found.likeness,
    )  # fmt: skip


def _uri_of(name: str) -> str:
    """The URI of a file, or of a table of a SQLite file, that a scan has found."""
    if "://" in name or Path(name).exists():
        return name
    database, _, table = name.rpartition("/")
    return f"sqlite://{quote(database)}/{quote(table, safe='')}"


_HELD = "legal hold "


def _held(hold: Hold, digests: Collection[str]) -> str:
    text = f"{_HELD}{hold.id}: {hold.reason}"
    if hold.subject_digest is None or hold.subject_digest in digests:
        return text
    return f"{text} (whose it is cannot be told: its key version {hold.key_version} is missing)"


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


def _issued(places: Places, place: Place) -> str | None:
    """When the newest evidence of a place that is a release was issued."""
    released = places.releases.get(place.id)
    return str(released[-1]["issued_at"]) if released else None


def _with_left(known: Targets, place: int, digest: str, before: str) -> Targets:
    """What was worked out, with the digest of a file that is going to be left at a place, of the release whose
    evidence was issued ``before``."""
    return {**known, LEFT: [*known.get(LEFT, []), [place, digest, before]]}


def _allowed(request: Request) -> None:
    if request.kind not in ERASING:
        raise Refused(f"request {request.id} asks for {request.kind}, not for erasure")
    if request.closed_at is not None:
        raise Refused(f"request {request.id} is closed")
    if request.identity != "verified" or not request.approved_by:
        raise Refused(f"request {request.id}: nobody has approved the erasure")
