"""Erasing one person, place by place, so that it can be taken up again after a crash anywhere.

Order: legal holds, suppression list, then every place, children before the tables that they
refer to. What is to go where is worked out before anything goes, and kept sealed with the
request, since a foreign key cannot be followed any more when the parent is gone. Each place is
erased whole or not at all and is idempotent; the ledger says what was being done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyKind, KeyRing
from airflow_mlsec.datasets import Connections
from airflow_mlsec.errors import CheckFailed, MlsecError, Refused, UsageError
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._holds import holds_on
from airflow_mlsec.subjects._identity import seal, unseal
from airflow_mlsec.subjects._locate import search_everywhere
from airflow_mlsec.subjects._places import Place, Places, find_places
from airflow_mlsec.subjects._receipt import make_receipt
from airflow_mlsec.subjects._recipients import Mail, ToBeToldByHand, add_recipients, tell
from airflow_mlsec.subjects._requests import (
    ERASING,
    Request,
    Step,
    change,
    get_request,
    note,
    person_of,
    record_location,
    set_step,
)
from airflow_mlsec.subjects._search import Person, Searcher
from airflow_mlsec.subjects._suppression import suppress
from airflow_mlsec.subjects._verify import rescan

Targets = dict[str, list[list[Any]]]
_TODO = ("found", "erasing", "failed")


@dataclass(frozen=True)
class Handler:
    """Works on requests: with which register, keys and connections, and in whose name."""

    register: Register
    keys: KeyRing
    by: str
    connections: Connections | None = None
    roots: tuple[str, ...] = ()
    progress: Callable[[str], None] = field(default=lambda message: None)

    def locate(self, identifier: int) -> Request:
        """Find the person everywhere and write it into the ledger."""
        request = get_request(self.register, identifier)
        person = person_of(self.register, self.keys, request)
        location = search_everywhere(
            self.register, self.keys, person, self.roots, self.connections, self.progress
        )
        return record_location(self.register, identifier, location, self.by)

    def look(self, identifier: int) -> Request:
        """What `locate` would find, with nothing written."""
        request = get_request(self.register, identifier)
        person = person_of(self.register, self.keys, request)
        location = search_everywhere(
            self.register, self.keys, person, self.roots, self.connections, self.progress
        )
        steps = tuple(
            Step(0, f.kind, f.dataset, f.dataset_id, f.status, f.rows, f.locator, f.evidence, 0, "")
            for f in location.findings
        )
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
                self._set(request, step, "unknown", str(error), attempts=step.attempts + 1)
            except CheckFailed as error:
                self._set(request, step, "failed", str(error), attempts=step.attempts + 1)
            else:
                self._set(request, step, "notified", how, attempts=step.attempts + 1)
        return get_request(self.register, identifier)

    def prepare(self, identifier: int) -> Request:
        """What comes before anything goes: targets, legal holds, suppression list.

        :raises Refused: if the request is not one of erasure, or not approved.
        """
        request = get_request(self.register, identifier)
        _allowed(request)
        person = person_of(self.register, self.keys, request)
        self._seal_targets(request, person, self._targets(identifier) or {})
        self._hold(request)
        places = self._places(request).all
        self.register.write(lambda c: add_recipients(c, request, places, self.register.now()))
        self.register.write(
            lambda c: suppress(c, self.keys, person, identifier, self.register.now())
        )
        return change(self.register, identifier, self.by, "erasure begun", {"status": "erasing"})

    def order(self, request: Request) -> list[Step]:
        """Places that are to be erased, children before their parents."""
        places = self._places(request)
        order = {place.id: i for i, place in enumerate(places.all)}
        todo = [s for s in request.steps if s.status in _TODO and s.dataset_id in order]
        return sorted(todo, key=lambda s: -order[s.dataset_id or 0])

    def erase_place(self, identifier: int, step_id: int) -> Request:
        """Erase the person in one place. Done again it changes nothing.

        :raises Refused: if the request is not one of erasure, or not approved.
        """
        request = get_request(self.register, identifier)
        _allowed(request)
        step = next((s for s in request.steps if s.id == step_id), None)
        if step is None or step.dataset_id is None:
            raise UsageError(f"request {identifier} has no place number {step_id}")
        if step.status not in _TODO:
            return request
        targets = self._targets(identifier)
        if targets is None:
            raise Refused(f"request {identifier}: nothing was worked out to be erased; start over")
        place = self._places(request).by_id(step.dataset_id)
        reason = place.policy.get("erasure") if place.policy else None
        if reason:
            return self._set(request, step, "retained", f"kept by law: {reason['retain']}")
        mine = targets.get(str(place.id))
        if mine is None and place.locators:
            return request  # it could not be searched yet: locate again first
        if waiting := self._unread_children(request, place):
            detail = f"waits for {waiting[0]}, whose rows can only be found through this place"
            return self._set(request, step, "found", detail)
        if not mine:
            how = "by its own DAG, without the person, or release it with the reason"
            return self._set(
                request, step, "found", f"no rows to delete: rebuild or retrain it {how}"
            )
        # Written first: whoever takes this up after a crash knows that it may be half done.
        self._set(request, step, "erasing", step.detail, attempts=step.attempts + 1)
        try:
            removed = self._delete(request, place, mine)
        except MlsecError as error:
            return self._set(request, step, "failed", f"could not be erased: {error}")
        except Exception as error:
            reason = f"could not be erased: unexpected {type(error).__name__}"
            return self._set(request, step, "failed", reason)
        self.progress(f"{removed} rows erased in {place.name}")
        if "free text" in step.locator:
            detail = "rows erased; the person is named in free text, which a person must redact"
            return self._set(request, step, "found", detail)
        return self._set(
            request, step, "erased", f"rows that are the person's: {step.rows or removed}"
        )

    def verify(self, identifier: int) -> dict[str, str]:
        """Look again, with other code, at every place that was erased; by place what was found.
        Where the person still is, the step is open again.

        :raises Refused: if nothing was erased.
        """
        request = get_request(self.register, identifier)
        targets = self._targets(identifier)
        if targets is None:
            raise Refused(f"request {identifier}: nothing was erased yet")
        person = person_of(self.register, self.keys, request)
        outcome: dict[str, str] = {}
        for step in request.steps:
            if step.status != "erased" or step.dataset_id is None:
                continue
            place = self._places(request).by_id(step.dataset_id)
            texts = {text for _, listed in targets.get(str(place.id), []) for text in listed}
            self.progress(f"looking again at {place.name}")
            outcome[step.name] = self._look_again(request, step, place, texts | set(person.keys))
        note(self.register, identifier, self.by, f"looked again at {len(outcome)} places")
        return outcome

    def _look_again(self, request: Request, step: Step, place: Place, texts: set[str]) -> str:
        try:
            found = rescan(place.uri or "", texts, self.connections)
        except MlsecError as error:
            self._set(request, step, "failed", f"could not be looked at again: {error}")
            return f"failed: {error}"
        if found.rows:
            detail = f"{found.rows} rows still name the person, in a column that no locator knows"
            self._set(request, step, "found", detail)
            return f"{found.rows} rows left ({found.how})"
        return f"clean ({found.how})"

    def close(self, identifier: int) -> tuple[Request, str | None]:
        """Close a request whose every place is settled; the request with its signed receipt, and
        the salt for the person (None, if it was closed before).

        :raises CheckFailed: if a place is unknown, failed or not settled.
        """
        request = get_request(self.register, identifier)
        if request.closed_at is not None:
            return request, None
        if request.identity != "verified":
            raise Refused(f"request {identifier}: the requester's identity is {request.identity}")
        if not request.steps:
            raise CheckFailed(f"request {identifier}: nobody has looked where the person's data is")
        verified = (
            self.verify(identifier) if request.kind in ERASING and self._targets(identifier) else {}
        )
        request = get_request(self.register, identifier)
        if left := request.open_steps():
            names = "; ".join(f"{step.name} ({step.status}: {step.detail})" for step in left[:5])
            raise CheckFailed(
                f"request {identifier} stays open: {len(left)} of {len(request.steps)} places are not "
                f"settled: {names}"
            )
        now = self.register.now()
        person = person_of(self.register, self.keys, request)
        signing = self.keys.ensure("signing", KeyKind.SIGNING)
        receipt, salt = make_receipt(request, person, verified, now, signing)
        # With the receipt written, nobody needs to know any more whom it was about.
        values = {"status": "closed", "closed_at": now, "receipt": receipt, "sealed": None}
        change(self.register, identifier, self.by, "closed, receipt signed", values)
        return get_request(self.register, identifier), salt

    # --- parts

    def _unread_children(self, request: Request, parent: Place) -> list[str]:
        """Places that refer to this one and could not be read: its rows lead to theirs."""
        status = {step.dataset_id: step.status for step in request.steps}
        return [
            place.name
            for place in self._places(request).all
            if status.get(place.id) in ("failed", "unknown")
            and place.subject
            and (place.subject.get("references") or {}).get("dataset") == parent.uri
        ]

    def _places(self, request: Request) -> Places:
        return self.register.read(lambda c: find_places(c, request.subject_kind))

    def _delete(self, request: Request, place: Place, targets: list[list[Any]]) -> int:
        person = Person(request.subject_kind, ("-",))
        searcher = Searcher(
            person, Places(request.subject_kind, ()), self.keys, self.connections, self.roots
        )
        dataset, removed = searcher.open(place), 0
        for column, texts in targets:
            values = searcher.typed(texts, dataset, column)
            if values:
                removed += dataset.delete_in(column, values)
        return removed

    def _seal_targets(self, request: Request, person: Person, found: Targets) -> None:
        """Work out, and keep, by which texts the person is named in which column of each place.
        What was worked out before stays: its parents may be gone by now."""
        places = self._places(request)
        searcher = Searcher(person, places, self.keys, self.connections, self.roots)
        failed = {step.dataset_id for step in request.steps if step.status == "failed"}
        for place in places.all:
            if not place.locators or place.id in failed or str(place.id) in found:
                continue
            texts = [[x.column, searcher.texts(x)] for x in place.locators]
            found[str(place.id)] = [item for item in texts if item[1]]
        text = json.dumps(found, ensure_ascii=False)
        sealed = seal(self.keys, (*person.keys, _MARK + text))
        self.register.write(
            lambda c: c.execute(
                sa.update(t.request).where(t.request.c.id == request.id).values(sealed=sealed)
            )
        )

    def _targets(self, identifier: int) -> Targets | None:
        return targets_of(self.register, self.keys, identifier)

    def _hold(self, request: Request) -> None:
        def work(connection: sa.Connection) -> list[Step]:
            held = []
            for step in request.steps:
                if step.status not in _TODO or step.dataset_id is None:
                    continue
                holds = holds_on(
                    connection, request.subject_kind, request.subject_digest, step.dataset_id
                )
                if holds:
                    reasons = "; ".join(f"legal hold {hold.id}: {hold.reason}" for hold in holds)
                    set_step(
                        connection, step.id, self.register.now(), status="retained", detail=reasons
                    )
                    held.append(step)
            return held

        for step in self.register.write(work):
            note(self.register, request.id, self.by, f"{step.name}: retained by a legal hold")

    def _set(self, request: Request, step: Step, status: str, detail: str, **more: Any) -> Request:
        now = self.register.now()
        self.register.write(
            lambda c: set_step(c, step.id, now, status=status, detail=detail, **more)
        )
        if status != "erasing":
            note(self.register, request.id, self.by, f"{step.name}: {status}")
        return get_request(self.register, request.id)


_MARK = "\0targets\0"


def targets_of(register: Register, keys: KeyRing, identifier: int) -> Targets | None:
    """What an erasure has worked out to erase; None before it has."""
    query = sa.select(t.request.c.sealed).where(t.request.c.id == identifier)
    [row] = register.rows(query)
    if row.sealed is None:
        return None
    last = unseal(keys, bytes(row.sealed))[-1]
    found: Targets | None = json.loads(last[len(_MARK) :]) if last.startswith(_MARK) else None
    return found


def _allowed(request: Request) -> None:
    if request.kind not in ERASING:
        raise Refused(f"request {request.id} asks for {request.kind}, not for erasure")
    if request.closed_at is not None:
        raise Refused(f"request {request.id} is closed")
    if request.identity != "verified" or not request.approved_by:
        raise Refused(f"request {request.id}: nobody has approved the erasure")
