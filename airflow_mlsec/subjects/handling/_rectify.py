"""Rectification: a value of the person is corrected (GDPR Art. 16, CCPA 1798.106), in the dataset
that has the column and in every unchanged copy of the column.

Anything else made from it (a pseudonym, an average, a model) is open until its own DAG has
rebuilt it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import Announce, keeps_writers_apart
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    EmptyDataset,
    MlsecError,
    Refused,
    UsageError,
)
from airflow_mlsec.ledger import in_words
from airflow_mlsec.register import keeps_open, sole_writer
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._holds import copy_holds
from airflow_mlsec.subjects._identity import (
    Person,
    reference_version,
    subject_digest,
    subject_digests,
)
from airflow_mlsec.subjects._suppression import suppress_as_well
from airflow_mlsec.subjects.handling._erasing import tell_of_copies
from airflow_mlsec.subjects.handling._handler import Handler
from airflow_mlsec.subjects.handling._recipients import add_recipients
from airflow_mlsec.subjects.handling._rectified import (
    has_others,
    is_still_right,
    typed_value,
    with_rectified,
)
from airflow_mlsec.subjects.handling._work import (
    require_four_eyes,
    settled_by_hand,
)
from airflow_mlsec.subjects.requests._changes import note, reseal
from airflow_mlsec.subjects.requests._request import (
    CORRECTING,
    Request,
    get_request,
    list_requests,
    person_of,
    require_ready,
    targets_of,
)
from airflow_mlsec.subjects.requests._requests import add_key
from airflow_mlsec.subjects.search._places import Place, Places, copies_of
from airflow_mlsec.subjects.search._search import RECTIFIED, Searcher


@keeps_open
def rectify(
    handler: Handler, identifier: int, column: str, text: str | None, dataset: str | None = None
) -> Request:
    """Set the person's rows to the value ``text`` (None: no value) in ``column``, and in every
    unchanged copy of it. Idempotent.

    :param dataset: URI or name of the dataset that has the column, if several have it.
    :raises Refused: if the request asks for something else, the identity is not verified, or
        others seem to share the person's key.
    :raises CheckFailed: if the person's data was not located yet.
    :raises UsageError: if no dataset has the column, or the value is not of its type.
    """
    request = get_request(handler.register, identifier)
    require_ready(request, CORRECTING)
    require_four_eyes(handler.register, request)
    person = person_of(handler.register, handler.keys, request)
    places = handler.places(person)
    searcher = handler.searcher(person, places)
    searcher.require_one_person(settled_by_hand(request))
    root = _root(places, column, dataset)
    _refuse_referred(places, root, column)
    digests = handler.hold_digests(request)
    if held := handler.holds(request, root.id, digests):
        raise Refused(f"{root.name}: {in_words(held)}")
    opened = searcher.open(root)
    value = typed_value(root, opened, column, text)
    copies, made = handler.register.read(lambda connection: copies_of(connection, root, column))
    if root.subject is not None and root.subject["key"] == column and text is not None:
        person = _with_key(handler, request, searcher, root, column, value, text)
        searcher = handler.searcher(person, places)
    theirs = {d for d, _ in copies} & {
        p.id for p in places.all if p.locators and p.stage != "release"
    }
    if theirs - {step.dataset_id for step in request.steps}:
        # Copies that lineage has reported since the last look.
        request = handler.locate(identifier)
        places = handler.places(person)
        searcher = handler.searcher(person, places)
    steps = {step.dataset_id: step for step in request.steps}
    # The root goes last: rows that refer to it are found through its old values.
    mine = [
        (places.by_id(place_id), steps[place_id], name)
        for place_id, name in sorted(copies, key=lambda copy: copy[0] == root.id)
        if place_id in steps and places.by_id(place_id).locators
        if places.by_id(place_id).stage != "release"  # rebuilt under its plan
    ]
    done = {place.id for place, _, _ in mine}
    # Of these, some were right before: in an earlier try.
    rectified: set[int] = set()
    changed: set[int] = set()
    earlier = _earlier(handler, request, person, root.id, column)
    # All of them, before anything is written: closing checks each of them again, even after a kill.
    at = [(place.id, name) for place, _, name in mine]
    reseal(
        handler.register, handler.keys, request.id,
        partial(with_rectified, places=at, text=text, earlier=earlier),
    )  # fmt: skip
    for place, step, name in mine:
        place_id = place.id
        if held := handler.holds(request, place_id):
            handler.mark(request, step, "retained", *held)
            continue
        try:
            still = _still(handler, request, person, place)
            anew = not _is_right(searcher, place, name, text)
            if anew:
                tell_of_copies(handler, identifier, place)
            with sole_writer(handler.register, place.uri or "", keeps_writers_apart(place.uri)):
                rows = sum(
                    _put_right(one, place, name, text, still)
                    for one in _under(handler, searcher, column, earlier)
                )
        except EmptyDataset:
            rows = 0
        except MlsecError as error:
            handler.mark(request, step, "failed", reasons.CouldNotRectify(str(error)))
            continue
        if rows:
            handler.mark(request, step, "rectified", reasons.PutRight(name, rows))
            rectified.add(place_id)
            changed |= {place_id} if anew else set()
        elif (
            place_id == root.id
            and step.status != "rectified"
            and not _is_right(searcher, place, name, text)
        ):
            raise CheckFailed(f"{root.name} has no row of the person: nothing was rectified there")
    for place_id in made - done:
        further = steps.get(place_id)
        if further is not None and further.status in ("found", "unknown"):
            handler.mark(request, further, "unknown", reasons.ToBeMadeAnew(column))
    if column in person.only and text is not None:
        told = replace(person, only={**person.only, column: text})
        add_key(handler.register, handler.keys, request, told, handler.who)
    _tell_recipients(handler, identifier, places, rectified, changed)
    note(handler.register, identifier, handler.who, reasons.DataRectified(root.name, column))
    return get_request(handler.register, identifier)


def _tell_recipients(
    handler: Handler,
    identifier: int,
    places: Places,
    rectified: Collection[int],
    changed: Collection[int],
) -> None:
    """A step for each recipient of what was rectified (GDPR Art. 19). Who was told of an earlier correction has to be told of
    this one."""
    if not rectified:
        return
    request, now = get_request(handler.register, identifier), handler.register.now()

    def work(connection: sa.Connection) -> list[str]:
        add_recipients(connection, request, places.all, now, rectified)
        return add_recipients(connection, request, places.all, now, changed)

    names = handler.register.write(work)
    for step in request.steps:
        if (
            step.kind == "recipient"
            and step.name in names
            and step.status in ("notified", "manual")
        ):
            handler.mark(request, step, "unknown", reasons.ToldBefore())


def _earlier(
    handler: Handler, request: Request, person: Person, root: int, column: str
) -> list[str]:
    """The known earlier values of this person in a column that tells apart people who share a key."""
    if column not in person.only:
        return []
    known = targets_of(handler.register, handler.keys, request) or {}
    before = [v for x in known.get(RECTIFIED, ()) if x[:2] == [root, column] for v in x[3:4]]
    return list(dict.fromkeys([*(v for listed in before for v in listed), person.only[column]]))


def _under(
    handler: Handler, searcher: Searcher, column: str, earlier: Sequence[str]
) -> Iterator[Searcher]:
    """The searcher for the person as identified by each earlier value: rectified rows may have been loaded again with
    the old value."""
    if not earlier:
        yield searcher
    for value in earlier:
        person = replace(searcher.person, only={**searcher.person.only, column: value})
        yield handler.searcher(person, searcher.places)


def _is_right(searcher: Searcher, place: Place, column: str, text: str | None) -> bool:
    """Whether the person's rows in a place already have the value."""
    try:
        return bool(searcher.rows(place, keep=False).rows) and is_still_right(
            searcher, place, column, text
        )
    except MlsecError:
        return False


def _refuse_referred(places: Places, root: Place, column: str) -> None:
    """Refuse to change a value that other tables refer to. It is not a fact about the person, and changing it would
    leave the rows in those tables without a person or with another person."""
    for place in places.all:
        references = place.subject.get("references") if place.subject else None
        if references and references["dataset"] == root.uri and references["column"] == column:
            raise Refused(
                f"{place.name} refers to column '{column}' of {root.name}; it stays as it is"
            )


def _with_key(
    handler: Handler,
    request: Request,
    searcher: Searcher,
    root: Place,
    column: str,
    value: Any,
    text: str,
) -> Person:
    """The person with the new key, which is recorded before anything is written. Restrictions and
    legal holds apply under every key.

    :raises Refused: if the key is already somebody else's.
    """
    person = searcher.person
    if text in person.keys:
        _tell_what_is_open(handler, request, person, text)
        return person
    taken = searcher.open(root).find_in(column, [value], keep=False).rows
    if taken or searcher.others_named(root, column, text):
        raise Refused(
            f"{root.name} already has rows with this key or another spelling of it: it would make two people one"
        )
    more = replace(person, keys=(*person.keys, text))

    def work(connection: sa.Connection) -> None:
        now = handler.register.now()
        suppress_as_well(connection, handler.keys, person, text, searcher.forms(), now)
        copy_holds(
            connection,
            person.kind,
            subject_digests(handler.keys, person.kind, person.keys),
            subject_digest(handler.keys, person.kind, text),
            reference_version(handler.keys),
        )

    handler.register.write(work)
    add_key(handler.register, handler.keys, request, more, handler.who)
    _tell_what_is_open(handler, request, more, text)
    return more


def _tell_what_is_open(handler: Handler, request: Request, person: Person, text: str) -> None:
    """Add a new key to all other open requests about the person: they would search only for the old key."""
    mine = subject_digests(handler.keys, person.kind, person.keys)
    there = _keys_there(handler, person, text)
    for other in list_requests(handler.register, only_open=True):
        if other.subject_kind != person.kind or other.id == request.id or other.status == "refused":
            continue
        try:
            about = person_of(handler.register, handler.keys, other)
        except MlsecError:
            note(handler.register, other.id, handler.who, reasons.SealUnopened())
            continue
        # Compared by any key that either request knows: the first key given may be the older one.
        alike = not mine.isdisjoint(subject_digests(handler.keys, person.kind, about.keys))
        if not alike or text in about.keys:
            continue
        # Keys can be reassigned or shared: it is the same person only if both are named by the same keys.
        if about.only == person.only and _keys_there(handler, about, text) == there:
            known = replace(about, keys=(*about.keys, text))
            add_key(handler.register, handler.keys, other, known, handler.who)
        else:
            note(handler.register, other.id, handler.who, reasons.KeyChangedElsewhere())


def _keys_there(handler: Handler, person: Person, new: str) -> set[str]:
    """The person's keys, except the new one, that name anybody in datasets of this kind."""
    searcher = handler.searcher(person, handler.places(person))
    found: set[str] = set()
    for place in searcher.places.all:
        if not place.names_people(person.kind) or place.subject is None:
            continue
        with contextlib.suppress(MlsecError):
            dataset = searcher.open(place)
            for key in person.keys:
                texts = searcher.same_keys(place, place.subject["key"], [key])
                for target in searcher.as_targets(place, dataset, {place.subject["key"]: texts}):
                    if dataset.find_in(target.column, target.values, False, target.also).rows:
                        found.add(key)
    return found - {new}


def _root(places: Places, column: str, dataset: str | None) -> Place:
    having = [
        place
        for place in places.all
        if place.stage == "source"
        and place.policy is not None
        and place.subject is not None
        and place.subject["kind"] == places.kind
        and column in place.policy["columns"]
    ]
    if dataset is not None:
        fitting = [
            p for p in having if dataset in (p.uri, p.name) or p.name.endswith(f"/{dataset}")
        ]
    else:
        fitting = having
    if len(fitting) != 1:
        names = ", ".join(place.name for place in having) or "none"
        raise UsageError(
            f"{len(fitting)} datasets match; those with a column '{column}' are: {names}. Say which (--dataset)"
        )
    return fitting[0]


def _still(handler: Handler, request: Request, person: Person, place: Place) -> Announce:
    """The check at the last moment before a value is rectified: rewriting takes a while."""

    def still(digest: str | None) -> None:
        del digest
        now = get_request(handler.register, request.id)
        require_ready(now, CORRECTING)
        if person_of(handler.register, handler.keys, now) != person:
            raise ChangedMeanwhile(
                f"request {request.id} was changed while {place.name} was being rewritten; nothing was rectified there"
            )
        if held := handler.holds(now, place.id):
            raise Refused(f"{place.name}: {in_words(held)}")

    return still


def _put_right(
    searcher: Searcher, place: Place, column: str, text: str | None, announce: Announce
) -> int:
    """:raises CheckFailed: if another value is still there afterwards."""
    searcher.refuse_mentions(place)
    dataset = searcher.open(place)
    value = typed_value(place, dataset, column, text)
    targets, rows = searcher.targets(place, dataset), 0
    mentions = place.mentions(searcher.person.kind)
    for target in targets:
        if target.column in mentions and column != target.column:
            continue  # the row is somebody else's
        given = (target.column, target.values)
        rows += dataset.update_in(*given, {column: value}, target.also, announce)
        if column != target.column and has_others(dataset, given, column, value, target.also):
            raise CheckFailed("another value is still there")
    return rows
