"""Writing and reading what the register knows about policies, datasets, columns and results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.naming import names_files
from airflow_mlsec.register import graph
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._bulk import insert_rows, lock_graph, rows_of

_TABULAR = {"parquet", "pq", "csv", "tsv", "json", "jsonl", "ndjson", "orc", "avro", "gz", "db"}


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    insert_only: Mapping[str, Any] | None = None,
) -> int | None:
    """Insert a row, or update the row with this key; returns its ``id`` if it has one."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values({**key, **values, **(insert_only or {})})
    if values:
        updated = statement.on_conflict_do_update(index_elements=list(key), set_=dict(values))
    else:
        updated = statement.on_conflict_do_nothing(index_elements=list(key))
    if "id" not in table.c:
        connection.execute(updated)
        return None
    found = connection.execute(updated.returning(table.c.id)).scalar_one_or_none()
    if found is None:
        query = sa.select(table.c.id).where(*(table.c[n] == v for n, v in key.items()))
        found = connection.execute(query).scalar_one()
    return int(found)


def record_policy(
    connection: sa.Connection, digest: str, source: str, document: bytes, now: str
) -> None:
    """Store a policy's document under its digest, with the time when it was last used."""
    values = {"source": source, "document": json.loads(document)}
    upsert(connection, t.policy, {"digest": digest}, {"recorded_at": now}, values)


def dataset_id(connection: sa.Connection, namespace: str, name: str, now: str) -> int:
    """The id of a dataset, which is created if it is not known yet."""
    lock_graph(connection)
    found = upsert(
        connection,
        t.dataset,
        {"namespace": namespace, "name": name},
        {"last_seen": now},
        {"first_seen": now, "kind": likely_kind(namespace, name)},
    )
    assert found is not None
    return found


def likely_kind(namespace: str, name: str) -> str:
    """The kind of a dataset, guessed from its name, until somebody declares it."""
    ending = name.rsplit("/", 1)[-1].rpartition(".")[2].lower() if "." in name else ""
    return "file" if names_files(namespace) and ending and ending not in _TABULAR else "table"


def set_dataset(
    connection: sa.Connection, namespace: str, name: str, now: str, **values: Any
) -> int:
    """Create a dataset if needed, and set its kind, uri, policy_digest, stage or rows."""
    identifier = dataset_id(connection, namespace, name, now)
    known = {key: value for key, value in values.items() if value is not None}
    if known:
        connection.execute(sa.update(t.dataset).where(t.dataset.c.id == identifier).values(known))
    return identifier


def enrich_columns(
    connection: sa.Connection, dataset: int, columns: Iterable[Mapping[str, Any]]
) -> dict[str, int]:
    """Add columns (``name`` and any of type, position, role, category); returns nodes by name."""
    lock_graph(connection)
    known = {
        name: [name, kind, at]
        for name, kind, at in column_documents(connection, [dataset])[dataset]
    }
    found = {}
    for column in columns:
        name = str(column["name"])
        entry = known.setdefault(name, [name, None, None])
        entry[1] = column.get("type") or entry[1]
        entry[2] = entry[2] if column.get("position") is None else column["position"]
        declared = {k: column[k] for k in ("role", "category") if column.get(k) is not None}
        if declared:
            upsert(connection, t.declared_column, {"dataset_id": dataset, "name": name}, declared)
        found[name] = 0
    write_column_documents(connection, {dataset: list(known.values())})
    order = {name: i for i, name in enumerate(known, graph.FIRST_COLUMN)}
    return {name: graph.node(dataset, order[name]) for name in found}


Column = Sequence[Any]


def column_documents(
    connection: sa.Connection, datasets: Iterable[int] | None
) -> dict[int, list[Column]]:
    """The columns of each dataset as [name, type, position], in the order of their ordinals; for
    all datasets if None."""
    wanted = None if datasets is None else sorted(set(datasets))
    if wanted is None:
        sql = "SELECT dataset_id, document FROM mlsec_columns"
        rows = list(connection.exec_driver_sql(sql).fetchall())
        found: dict[int, list[Column]] = {}
    else:
        rows = rows_of(connection, t.columns, ("dataset_id", "document"), ("dataset_id",), wanted)
        found = {dataset: [] for dataset in wanted}
    found.update({dataset: json.loads(document) for dataset, document in rows})
    return found


def write_column_documents(
    connection: sa.Connection, documents: Mapping[int, Sequence[Column]]
) -> None:
    """Replace the columns of datasets. Only ever append: an item's place is its ordinal."""
    insert_rows(
        connection,
        t.columns,
        ("dataset_id", "document"),
        [
            (dataset, json.dumps(columns, ensure_ascii=False, separators=(",", ":")))
            for dataset, columns in sorted(documents.items())
        ],
        "(dataset_id) DO UPDATE SET document = excluded.document",
    )


def find_dataset(connection: sa.Connection, text: str) -> list[sa.Row[Any]]:
    """Datasets whose URI or full name (``namespace/name``) is ``text``; if there are none, those
    whose name is ``text`` or ends in ``/text``, which may be several."""
    d = t.dataset.c
    exact = sa.select(t.dataset).where(sa.or_(d.uri == text, d.namespace + "/" + d.name == text))
    if rows := connection.execute(exact).fetchall():
        return list(rows)
    length = len(text) + 1
    ending = (
        sa.func.right(d.name, length)
        if connection.dialect.name == "postgresql"
        else sa.func.substr(d.name, -length)
    )
    loose = sa.select(t.dataset).where(sa.or_(d.name == text, ending == f"/{text}"))
    return list(connection.execute(loose.order_by(d.id)).fetchall())


_REQUESTS = "requests"


def requests_done(connection: sa.Connection) -> int:
    """How often requests, or a retention period, have so far changed people's data: put people on the suppression
    list, rectified a value, erased what is overdue. A process that will publish what it reads asks for this number
    before it reads, and checks it again (`refuse_if_requests_did_more`) before it publishes."""
    c = t.counter.c
    query = sa.select(c.value).where(c.name == _REQUESTS)
    return connection.execute(query).scalar_one_or_none() or 0


def requests_did_more(connection: sa.Connection) -> None:
    """Record that a request, or a retention period, is changing people's data. Holds the graph's lock from here on,
    as a process that is about to publish does."""
    lock_graph(connection)
    number = requests_done(connection) + 1
    upsert(connection, t.counter, {"name": _REQUESTS}, {"value": number})


def refuse_if_requests_did_more(connection: sa.Connection, done: int, uri: str) -> None:
    """Check, with the graph's lock held, that requests have done nothing since ``done`` was read (`requests_done`).
    Adding somebody to the suppression list takes the same lock. So either the person is already on the list here, or
    the erasure that adds them sees what is recorded here.

    :param uri: What was read since.
    :raises ChangedMeanwhile: if a request has: what was read may still contain the person's earlier data.
    """
    lock_graph(connection)
    if requests_done(connection) != done:
        raise ChangedMeanwhile(
            "somebody's data was erased, restricted or rectified, or a retention period was applied, "
            f"while {uri} was being read: what was read may contain the earlier data. Nothing was published; run it again"
        )
