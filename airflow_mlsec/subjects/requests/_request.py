"""A data-subject request as the register keeps it: its places and its history. It does not reveal the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CheckFailed, Refused, UsageError
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Language,
    Reason,
    Words,
    acts,
    as_documents,
    in_words,
    read_reasons,
)
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, Targets, unseal
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._copies import COPIES
from airflow_mlsec.subjects.search._finding import by_what
from airflow_mlsec.subjects.search._scan import ROOT

# The statuses that a step may have when its request is closed.
SETTLED = (
    "none",
    "none by scan",
    "same",
    "beyond reach",
    "erased",
    "rectified",
    "rebuilt",
    "retained",
    "manual",
    "notified",
)


ERASING = ("erasure", "delete")


CORRECTING = ("rectification", "correct")


RESTRICTING = ("restriction", "objection", "opt-out", "limit")


# The requester need not show who they are (11 CCR § 7060(b)).
NEEDS_NO_PROOF = ("opt-out", "limit")


# These hand the data over and change nothing.
ANSWERING = ("access", "portability", "know")


# The limit of a database integer.
_NUMBERS = 2**63


@dataclass(frozen=True)
class Step:
    """The outcome for the person's data in one place; a row of the coverage ledger."""

    id: int
    kind: str
    name: str
    dataset_id: int | None
    status: str
    rows: int | None
    found_by: tuple[Reason, ...]
    reasons: tuple[Reason, ...]
    attempts: int
    changed_at: str
    decided_by: str | None = None
    # The columns in which the person is found there.
    columns: tuple[str, ...] = ()
    # Whether some of it was found only by likeness, and nobody has confirmed it.
    likeness: bool = False
    # The last run that the register knew when it last changed.
    after_run: int | None = None
    # Whether free text names the person there.
    free_text: bool = False

    def as_json(self) -> dict[str, Any]:
        """The step as JSON for programs: the reasons as codes, and in words as ``detail``."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        told: dict[str, Any] = {"detail": str(self.detail), "reasons": as_documents(self.reasons)}
        told |= {"locator": str(self.locator), "found_by": as_documents(self.found_by)}
        return {**plain, **told}

    @property
    def locator(self) -> Words:
        """How the person is found there, in words."""
        return by_what(self.found_by)

    @property
    def detail(self) -> Words:
        """Why it is in its state, in words."""
        return in_words(self.reasons)

    def words(self, language: Language) -> Words:
        """How the person is found there, and why it is in its state."""
        return Words(f"{by_what(self.found_by, language)}; {in_words(self.reasons, language)}")


@dataclass(frozen=True)
class Request:
    """A request as the register keeps it; it does not reveal who the person is."""

    id: int
    law: str
    kind: str
    subject_kind: str
    subject_digest: str
    status: str
    identity: str
    requested_at: str
    due_at: str | None
    extended: bool
    approved_by: str | None
    closed_at: str | None
    receipt: dict[str, Any] | None
    steps: tuple[Step, ...]
    opened_by: str | None = None
    verified_by: str | None = None
    recipients: tuple[str, ...] = ()
    exports: tuple[dict[str, Any], ...] = ()
    # What was approved: rows by place, and the places that were not.
    approved: Mapping[str, Any] | None = None
    four_eyes: bool | None = None
    changed_by: str | None = None
    # The number of changes to it.
    version: int = 0
    # The day since which its deadline stands still, because the identity was asked for.
    paused_on: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The request as JSON for programs."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "steps": [step.as_json() for step in self.steps]}

    def open_steps(self) -> list[Step]:
        """Steps that keep the request open."""
        # Where nothing has to be changed, it is enough to know what is there.
        left_as_it_is = self.kind in (*ANSWERING, *CORRECTING)
        fine = (*SETTLED, "found") if left_as_it_is else SETTLED
        return [step for step in self.steps if step.status not in fine]

    def last_day(self, time_zone: str) -> date | None:
        """The last day on which it can be answered in time; ``due_at`` is the end of that day."""
        if self.due_at is None:
            return None
        due = datetime.fromisoformat(self.due_at) - timedelta(microseconds=1)
        return due.astimezone(ZoneInfo(time_zone)).date()

    def is_overdue(self, now: datetime) -> bool:
        """Whether the deadline has passed and the request is not closed. While it stands still, it does not pass."""
        if self.paused_on is not None:
            return False
        late = self.due_at is not None and datetime.fromisoformat(self.due_at) <= now
        return late and self.closed_at is None


def get_request(register: Register, identifier: int) -> Request:
    """A request with its ledger.

    :raises UsageError: if there is no request with this number.
    """
    return register.read(lambda connection: read_request(connection, identifier))


def read_request(connection: sa.Connection, identifier: int) -> Request:
    """`get_request` within a transaction."""
    if not 0 < identifier < _NUMBERS:
        raise UsageError("there is no request with this number; `mlsec subject list` shows all")
    found = _read(connection, t.request.c.id == identifier)
    if not found:
        raise UsageError(f"there is no request {identifier}; `mlsec subject list` shows all")
    return found[0]


def list_requests(register: Register, only_open: bool = False) -> list[Request]:
    """All requests, the most urgent first."""
    where = t.request.c.closed_at.is_(None) if only_open else sa.true()
    return register.read(lambda connection: _read(connection, where))


def _read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Request]:
    r, s = t.request.c, t.request_step.c
    chosen = sa.and_(where, r.kind != "locate")
    query = sa.select(t.request).where(chosen).order_by(r.due_at, r.id)
    requests = list(connection.execute(query))
    steps: dict[int, list[Step]] = {row.id: [] for row in requests}
    of_chosen = sa.select(t.request_step).join(t.request, r.id == s.request_id).where(chosen)
    for x in connection.execute(of_chosen.order_by(s.id)):
        steps[x.request_id].append(
            Step(x.id, x.kind, x.name, x.dataset_id, x.status, x.rows, read_reasons(x.found_by), read_reasons(x.reasons), x.attempts,
                 x.changed_at, x.decided_by, tuple(x.columns or ()), bool(x.likeness), x.after_run,
                 bool(x.free_text))
        )  # fmt: skip
    return [
        Request(
            x.id, x.law, x.kind, x.subject_kind, x.subject_digest, x.status, x.identity,
            x.requested_at, x.due_at, bool(x.extended), x.approved_by, x.closed_at, x.receipt,
            tuple(steps[x.id]), x.requested_by, x.verified_by, tuple(x.recipients or ()),
            tuple(x.exports or ()), x.approved, x.four_eyes, x.changed_by, x.version, x.paused_on,
        )
        for x in requests
    ]  # fmt: skip


def person_of(register: Register, keys: KeyRing, request: Request) -> Person:
    """The person a request is about.

    :raises UsageError: if the request is closed: then nobody needs to know any more.
    """
    return _unsealed(register, keys, request)[0]


def targets_of(register: Register, keys: KeyRing, request: Request) -> Targets | None:
    """The computed erasure targets; None before they are computed and after the request closed."""
    return None if request.closed_at else _unsealed(register, keys, request)[1]


def _unsealed(register: Register, keys: KeyRing, request: Request) -> tuple[Person, Targets | None]:
    query = sa.select(t.request.c.sealed).where(t.request.c.id == request.id)
    [row] = register.rows(query)
    if row.sealed is None:
        raise UsageError(f"request {request.id} is closed, and the person's identity is erased")
    # An erasure seals its targets together with the keys.
    return unseal(keys, request.subject_kind, bytes(row.sealed))


def require_ready(request: Request, kinds: tuple[str, ...]) -> None:
    """:raises Refused: if the request asks for something else or is closed, or the requester's
    identity is not verified where it must be.
    :raises CheckFailed: if the person's data was not located yet.
    """
    if request.kind not in kinds:
        raise Refused(f"request {request.id} asks for {request.kind}, not for {' or '.join(kinds)}")
    if request.closed_at is not None:
        raise Refused(f"request {request.id} is closed")
    if request.identity != "verified" and request.kind not in NEEDS_NO_PROOF:
        raise Refused(
            f"request {request.id}: the requester's identity is {request.identity}; verify it first"
        )
    if not request.steps:
        raise CheckFailed(f"request {request.id}: locate the person's data first")


def asset_of(identifier: int) -> Asset:
    """A request as an asset of the ledger."""
    return Asset(AssetKind.REQUEST, str(identifier))


# Kinds of steps that are not about a file or table.
NO_PLACES = ("recipient", "vault", ROOT, COPIES)


NO_FILES = (*NO_PLACES, AIRFLOW)


def history(register: Register, identifier: int) -> list[Act]:
    """Everything that was done with a request and its places, in order."""
    return register.read(lambda connection: acts(connection, request=identifier))


def act_in_words(act: Act, language: Language = "en") -> Words:
    """One line of a request's history."""
    words = in_words(act.reasons, language)
    return (
        Words(f"{act.asset.name}: {act.verb}: {words}")
        if act.asset.kind is AssetKind.PLACE
        else words
    )
