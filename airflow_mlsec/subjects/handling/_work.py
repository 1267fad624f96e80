"""What every action for a request needs: register, keys, connections and the actor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_mlsec.actors import Actor
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Connections
from airflow_mlsec.errors import Refused
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.ledger import DEPLOYMENT, Reason, Verb, require, rules_in_force
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._holds import Hold, holds_on
from airflow_mlsec.subjects._identity import Person, Targets, live_references, subject_digests
from airflow_mlsec.subjects.letters._letters import Letters
from airflow_mlsec.subjects.requests._changes import set_step
from airflow_mlsec.subjects.requests._request import ERASING, Request, Step, get_request, person_of
from airflow_mlsec.subjects.search._places import Places, places_of
from airflow_mlsec.subjects.search._scan import EVERYTHING, Scan
from airflow_mlsec.subjects.search._search import Searcher

# Statuses that a person or the law has decided.
DECIDED = ("manual", "rebuilt", "retained", "none")


@dataclass(frozen=True)
class _Known:
    """Where a person's data can be, computed after so many changes of the graph by ``others`` and by us (``own``)."""

    person: Person = field(repr=False)
    others: int
    own: int
    places: Places
    # Places that we have erased from since then.
    erased: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Work:
    """Works on requests, with a register, keys and connections, on behalf of an actor."""

    register: Register
    keys: KeyRing
    by: Actor
    connections: Connections | None = None
    roots: tuple[str, ...] = ()
    progress: Callable[[str], None] = field(default=lambda message: None)
    # How far places that no key leads to are scanned.
    scan: Scan = EVERYTHING
    # Whether old versions of objects are erased as well, where a bucket keeps them.
    old_versions: bool = False
    # Who writes to data subjects, and how.
    letters: Letters = field(default_factory=Letters)
    # Where people's data can be, as last computed (`places`); cleared when another action starts.
    _known: list[_Known] = field(default_factory=list, init=False, repr=False, compare=False)
    # One entry for each change of the graph by one of our erasures (`own_evidence`).
    _own: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        with self.register.kept_open():
            bind_ring(self.register, self.keys)
            _ = self.who

    @cached_property
    def who(self) -> str:
        """The actor, as registers store it.

        :raises Refused: if the actor may not handle requests.
        """
        return require(self.register, self.by, Verb.HANDLE, DEPLOYMENT).who

    def places(self, person: Person, dataset: int | None = None) -> Places:
        """Everywhere that a person's data can be. It is computed once per action (`doing`), as long as the register's
        graph, policies and evidence do not change.

        :param dataset: Only this place is asked about: it is not affected by evidence that this object itself has
            meanwhile given to other places (releases that have lost rows).
        """
        others, own = self._changes()
        for known in self._known:
            same = (known.person, known.others) == (person, others)
            if same and (known.own == own or (dataset is not None and dataset not in known.erased)):
                return known.places
        found = self.register.read(lambda c: places_of(c, person))
        self._known[:] = [_Known(person, others, own, found)]
        return found

    def _changes(self) -> tuple[int, int]:
        """How often the graph was changed by others, and by the evidence of releases that we erased from. A change of ours
        that ends at this moment may be counted as another's, but never the other way round."""
        while True:
            own = len(self._own)
            found = self.register.graph_changes()
            if own == len(self._own):
                return found - own, own

    @contextlib.contextmanager
    def own_evidence(self) -> Iterator[None]:
        """Within the block, this thread writes only new evidence of a release that has lost rows here."""
        with self.register.counting(self._own):
            yield

    def erased_from(self, dataset: int) -> None:
        """Rows of a place were erased: its evidence, if it has any, has changed."""
        for known in self._known:
            known.erased.add(dataset)

    @contextlib.contextmanager
    def doing(self) -> Iterator[None]:
        """One action: connections stay open, and what was computed before is forgotten."""
        self._known.clear()
        with self.register.kept_open():
            yield

    def searcher(self, person: Person, places: Places, known: Targets | None = None) -> Searcher:
        """A searcher for the person; ``known`` is what an erasure has computed."""
        given = (self.register, person, places, self.keys, self.connections, self.roots)
        return Searcher(*given, known or {})

    def mark(
        self,
        request: Request,
        step: Step,
        status: str,
        *why: Reason,
        **more: Any,
    ) -> Request:
        """Write the outcome for a place into the ledger and the history."""
        values = {"decided_by": None, **more}
        now = self.register.now()
        given = (request.id, step, self.who, now, status)
        self.register.write(lambda c: set_step(c, *given, why, **values))
        return get_request(self.register, request.id)

    def hold_digests(self, request: Request, dataset: int | None = None) -> set[str]:
        """The digests under which legal holds on the person may be stored; for one ``dataset``, see `places`."""
        person = person_of(self.register, self.keys, request)
        searcher = self.searcher(person, self.places(person, dataset))
        return subject_digests(self.keys, person.kind, searcher.all_names(), searcher.forms())

    def holds(
        self, request: Request, dataset: int, digests: Collection[str] | None = None
    ) -> tuple[Reason, ...]:
        """The legal holds in force on the person in one dataset, under any of the keys."""
        mine = self.hold_digests(request, dataset) if digests is None else digests
        versions = live_references(self.keys)
        found = self.register.read(
            lambda c: holds_on(c, request.subject_kind, mine, versions, dataset)
        )
        return tuple(held(hold, mine) for hold in found)


def settled_by_hand(request: Request) -> set[int | None]:
    """The places that a person has settled."""
    return {step.dataset_id for step in request.steps if step.decided_by is not None}


def held(hold: Hold, digests: Collection[str]) -> Reason:
    """A hold, as a reason to keep rows."""
    known = hold.subject_digest is None or hold.subject_digest in digests
    return reasons.KeptByHold(hold.id, hold.reason, None if known else hold.key_version)


def require_four_eyes(register: Register, request: Request) -> None:
    """:raises Refused: if the rules in force now require approval by somebody other than those who acted, and there is
    none. The rules may have become stricter since."""
    rules = rules_in_force(register).rules
    if rules.needs_four_eyes(request.kind in ERASING) and not (
        request.approved_by and request.four_eyes
    ):
        raise Refused(
            f"request {request.id}: nobody else has approved it ([mlsec] four_eyes = {rules.four_eyes})"
        )


def require_erasure(work: Work, request: Request) -> None:
    """:raises Refused: if a request does not ask for erasure, or is not validly approved."""
    if request.kind not in ERASING:
        raise Refused(f"request {request.id} asks for {request.kind}, not for erasure")
    if request.closed_at is not None:
        raise Refused(f"request {request.id} is closed")
    if request.identity != "verified" or not request.approved_by:
        raise Refused(f"request {request.id}: nobody has approved the erasure")
    require_four_eyes(work.register, request)
