"""Confirming, by a person, that what was found by likeness is the requester's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from airflow_mlsec.datasets import (
    Connector,
    DatasetName,
    all_connectors,
    container_of,
    open_dataset,
)
from airflow_mlsec.errors import (
    ColumnMissing,
    UsageError,
)
from airflow_mlsec.ledger import Reason
from airflow_mlsec.register import dataset_id
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import (
    Confirmed,
    Person,
    seal,
)
from airflow_mlsec.subjects.handling._locating import locate
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._changes import NOT_APPROVED, change, change_step
from airflow_mlsec.subjects.requests._request import Request, get_request, person_of, targets_of
from airflow_mlsec.subjects.search._airflow import ERASABLE
from airflow_mlsec.subjects.search._search import (
    is_below,
)


def confirm(work: Work, identifier: int, name: str, column: str, reason: str) -> Request:
    """A person confirms that rows found by likeness are the requester's: the rows of a place that have, as
    a whole value in ``column``, anything the key may have become. Acting on them needs a new
    approval.

    :raises UsageError: if the place was not found by likeness, has no such column, or has nothing like the
        key as a whole value there.
    """
    if not reason.strip():
        raise UsageError("say how it is known that the rows are the person's: an auditor will ask")
    request = get_request(work.register, identifier)
    fitting = [s for s in request.steps if s.name == name or s.name.endswith(f"/{name}")]
    if len(fitting) != 1 or not fitting[0].likeness or fitting[0].status != "found":
        listed = ", ".join(s.name for s in request.steps if s.likeness) or "none"
        raise UsageError(f"'{name}' is not a place found by likeness; those are: {listed}")
    step, person = fitting[0], person_of(work.register, work.keys, request)
    if step.name == ERASABLE:
        # Entries in which a whole value is the person's are erased, even if they name others too.
        sure = replace(person, confirmed=(*person.confirmed, Confirmed(0, ERASABLE, work.who)))
        return _confirmed(work, request, sure, reasons.EntriesConfirmed(ERASABLE, reason))
    dataset = step.dataset_id
    if dataset is None:
        opened = open_dataset(_uri_of(step.name), work.connections)
        if not any(is_below(opened.uri, root) for root in work.roots):
            raise UsageError(f"{step.name} is not below a folder of [mlsec] data_roots")
    else:
        places = work.places(person)
        opened = work.searcher(person, places).open(places.by_id(dataset))
    present = opened.schema().names
    if column.startswith("#") and column[1:].isdecimal() and 0 < int(column[1:]) <= len(present):
        column = present[int(column[1:]) - 1]
    if column not in present:
        # Its columns are not listed: in a file without a header, their names are values.
        raise ColumnMissing(f"{step.name} has no column of that name; it has {len(present)}")
    if dataset is None:
        # No URI is stored for it: it is only opened below the data roots, whatever it is by then.
        named, now = opened.name, work.register.now()
        dataset = work.register.write(lambda c: dataset_id(c, named.namespace, named.name, now))
    said = Confirmed(dataset, column, work.who)
    sure = replace(person, confirmed=tuple(dict.fromkeys([*person.confirmed, said])))
    places = work.places(sure)
    if not work.searcher(sure, places).widened().likenesses(places.by_id(dataset), column):
        raise UsageError(
            f"that column of {step.name} has neither key, hash nor pseudonym of it as a whole value: another spelling "
            "has to be confirmed as a key (mlsec subject person --also -), and what is inside longer text is "
            "dealt with by hand (mlsec subject settle)"
        )
    number = present.index(column) + 1
    confirmed = reasons.PlaceConfirmed(step.name, number, reason)
    at = dataset

    def name_it(connection: sa.Connection) -> None:
        # From now on its kind is the register's, for example a table of a database.
        query = sa.select(t.dataset.c.kind).where(t.dataset.c.id == at)
        kind = connection.execute(query).scalar_one()
        now = work.register.now()
        change_step(connection, step.id, now, dataset_id=at, kind=kind)

    work.register.write(name_it)
    return _confirmed(work, request, sure, confirmed)


def _confirmed(work: Work, request: Request, person: Person, what: Reason) -> Request:
    """Store what was confirmed and locate again; acting on it needs a new approval."""
    targets = targets_of(work.register, work.keys, request)
    values = {"sealed": seal(work.keys, person, targets), "status": "located", **NOT_APPROVED}
    change(work.register, request.id, work.who, what, values)
    return locate(work, request.id)


def _uri_of(name: str) -> str:
    """The URI of a file or object, or of a table in a file, that a scan has found."""
    if "://" in name or Path(name).exists():
        return name
    for connector in all_connectors():
        for namespace in connector.namespaces if connector.container is not None else ():
            # Some connectors' names begin with their namespace.
            inside = name.removeprefix(f"{namespace}/")
            uri = connector.uri_of(DatasetName(namespace, inside))
            if uri is not None and _holds(connector, uri):
                return uri
    return name


def _holds(connector: Connector, uri: str) -> bool:
    """Whether the file in a table's URI is of the connector's kind."""
    path = connector.local_path(uri)
    try:
        return path is not None and container_of(path) is connector.container
    except OSError:
        return False
