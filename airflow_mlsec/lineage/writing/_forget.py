"""Forgetting what a client sent over HTTP: the graph becomes what it would be without the client's events.

What is stored is a union over what events say, so what one client alone said can be taken out again: runs that
nobody else reported, names of datasets, changes of their lifecycle, facets, and events in quarantine, which could be
applied later. Names of datasets and columns stay
in the list, without any lineage, since others may have named them since. Stay too do runs that others reported as well,
whose parts cannot be told apart; they are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from airflow_mlsec.actors import Actor
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger import DEPLOYMENT, Act, Asset, AssetKind, Verb, record, require
from airflow_mlsec.lineage.events._events import ASSUMED, DECLARED
from airflow_mlsec.lineage.events._origins import SIGNED
from airflow_mlsec.lineage.reasons import ClientForgotten
from airflow_mlsec.lineage.writing._batch import Batch, KnownNames
from airflow_mlsec.lineage.writing._quarantine import discard_of
from airflow_mlsec.lineage.writing._write_aliases import ALIAS_STEPS, alias_edges
from airflow_mlsec.lineage.writing._write_parts import WHOLE
from airflow_mlsec.lineage.writing._write_runs import whole_edge
from airflow_mlsec.register import Register, column_documents, count_removal, graph, lock_graph
from airflow_mlsec.register import tables as t

_CHUNK = 500
_Pair = tuple[int, int, str]


@dataclass(frozen=True)
class Forgotten:
    """What a client alone said and what is gone therefore: how many runs, edges, other names of datasets, changes of
    their lifecycle, facets, and events in quarantine; and how many runs stay because somebody else reported them too, or because the
    client reported them before the given time."""

    runs: int = 0
    edges: int = 0
    names: int = 0
    changes: int = 0
    facets: int = 0
    held: int = 0
    runs_left: int = 0


class _OnlyLooking(Exception):
    """Ends the transaction of a dry run."""

    def __init__(self, found: Forgotten) -> None:
        self.found = found


def forget_client(
    register: Register, client: str, by: Actor, since: str | None = None, dry_run: bool = False
) -> Forgotten:
    """Take back what only this client (the name of an API key) has sent.

    :param since: Only what it sent from this time on (ISO 8601, UTC), by the register's clock.
    :param dry_run: Count, and change nothing.
    :raises UsageError: if no client of this name has sent anything.
    :raises Refused: if the actor may not decide that.
    """
    who = require(register, by, Verb.SETTLE, DEPLOYMENT).who

    def work(connection: sa.Connection) -> Forgotten:
        lock_graph(connection)
        batch = Batch(KnownNames(), connection, [], register.now())
        found = _forget(batch, client, since or "")
        if dry_run:
            raise _OnlyLooking(found)
        if found != Forgotten(runs_left=found.runs_left):
            reason = ClientForgotten(client, found.runs, found.edges, since)
            asset = Asset(AssetKind.KEY, f"api:{client}")
            acts = [Act(asset, "forgotten", (reason,), who, batch.now, asdict(found))]
            record(connection, acts)
        return found

    try:
        return register.write(work)
    except _OnlyLooking as only:
        return only.found


def _forget(batch: Batch, client: str, since: str) -> Forgotten:
    connection = batch.connection
    mine, left = _runs(connection, client, since)
    names = _said_by(connection, t.alias, client, since)
    changes = _said_by(connection, t.lifecycle, client, since)
    facets = _said_by(connection, t.facet, client, since)
    held = discard_of(connection, client, since)
    if not (mine or left or names or changes or facets or held):
        raise UsageError(f"no client '{client}' has sent anything{' since then' if since else ''}")
    batch.ensure_transformations([ASSUMED, SIGNED, *ALIAS_STEPS])
    steps = batch.names.transformations
    removed, written = _without_runs(batch, mine)
    pairs: set[_Pair] = {(r.dataset_id, r.other_id, r.kind) for r in names}
    for row in names:
        a = t.alias.c
        same = a.dataset_id == row.dataset_id, a.other_id == row.other_id, a.kind == row.kind
        connection.execute(sa.delete(t.alias).where(*same))
    pairs |= _no_longer_whole(connection, written)
    for row in changes:
        c = t.lifecycle.c
        same = c.dataset_id == row.dataset_id, c.change == row.change, c.at == row.at
        connection.execute(sa.delete(t.lifecycle).where(*same))
    for row in facets:
        f = t.facet.c
        of = f.entity == row.entity, f.entity_id == row.entity_id, f.name == row.name
        connection.execute(sa.delete(t.facet).where(*of, f.client == client))
    alias_steps = {steps[step] for step in ALIAS_STEPS}
    for one, other, _ in pairs:
        for source, target in ((one, other), (other, one)):
            e = t.edge.c
            query = sa.select(t.edge).where(_of(e.source_id, source), _of(e.target_id, target))
            removed |= {(r[0], r[1], r[2]) for r in connection.execute(query) if r[2] in alias_steps}  # fmt: skip
    gone = removed - _still_said(batch, {target >> graph.SHIFT for _, target, _ in removed})
    e = t.edge.c
    # What signed evidence says is not the client's, even if the client said the same.
    gone = {edge for edge in gone if edge[2] != steps[SIGNED]}
    deleted = 0
    for source, target, step in sorted(gone):
        same = e.source_id == source, e.target_id == target, e.transformation_id == step
        deleted += connection.execute(sa.delete(t.edge).where(*same)).rowcount
    # The newest schema may be the client's: the next one of anybody else is taken.
    for part in _parts(written):
        fresh = sa.update(t.dataset).where(t.dataset.c.id.in_(part))
        connection.execute(fresh.values(schema_at=None, schema_digest=None))
    count_removal(connection)
    return Forgotten(len(mine), deleted, len(names), len(changes), len(facets), held, left)


def _runs(connection: sa.Connection, client: str, since: str) -> tuple[list[int], int]:
    """The runs that only this client reported and that still say something, and how many it shares with others."""
    rc, r = t.run_client, t.run.c
    query = (
        sa.select(rc.c.run_id, rc.c.first_at, r.state)
        .join(t.run, r.id == rc.c.run_id)
        .where(rc.c.client == client, rc.c.last_at >= since)
    )
    mine, shared = [], 0
    rows = connection.execute(query).all()
    others: set[int] = set()
    touching: set[int] = set()
    for part in _parts([row.run_id for row in rows]):
        among = rc.c.run_id.in_(part), rc.c.client != client
        others |= set(connection.execute(sa.select(rc.c.run_id).where(*among)).scalars())
        for table in (t.run_dataset, t.run_dependency):
            some = sa.select(table.c.run_id).where(table.c.run_id.in_(part)).distinct()
            touching |= set(connection.execute(some).scalars())
    for row in rows:
        if row.run_id in others or row.first_at < since:
            shared += 1
        elif row.state != DECLARED or row.run_id in touching:
            mine.append(row.run_id)
    return mine, shared


def _without_runs(batch: Batch, runs: Collection[int]) -> tuple[set[graph.Edge], set[int]]:
    """Remove all that runs say. Returns the edges that may have come from them alone, and the datasets that they
    touched. The runs themselves stay, as names."""
    connection, step = batch.connection, batch.names.transformations[ASSUMED]
    removed: set[graph.Edge] = set()
    touched: set[int] = set()
    flows: set[int] = set()
    for part in _parts(runs):
        d, a = t.run_dataset.c, t.assumed.c
        query = sa.select(d.dataset_id, d.flow_id).where(d.run_id.in_(part))
        for row in connection.execute(query):
            touched.add(row.dataset_id)
            flows.update({row.flow_id} - {None})
        query = sa.select(a.source_id, a.target_id).where(a.run_id.in_(part))
        removed |= {whole_edge(r.source_id, r.target_id, step) for r in connection.execute(query)}
        for table in (t.run_dataset, t.assumed, t.run_dependency):
            connection.execute(sa.delete(table).where(table.c.run_id.in_(part)))
        f = t.facet.c
        connection.execute(sa.delete(t.facet).where(f.entity == "run", f.entity_id.in_(part)))
        empty = dict.fromkeys(("started_at", "ended_at", "parent_uuid", "nominal_start", "nominal_end", "task_instance"))  # fmt: skip
        update = sa.update(t.run).where(t.run.c.id.in_(part)).values(state=DECLARED, **empty)
        connection.execute(update)
    for part in _parts(flows):
        d, f2 = t.run_dataset.c, t.flow.c
        query = sa.select(d.flow_id).where(d.flow_id.in_(part)).distinct()
        unused = sorted(set(part) - set(connection.execute(query).scalars()))
        for row in connection.execute(sa.select(f2.edges).where(f2.id.in_(unused))):
            removed |= _unpacked(bytes(row.edges))
        connection.execute(sa.delete(t.flow).where(f2.id.in_(unused)))
    return removed, touched


def _no_longer_whole(connection: sa.Connection, written: Collection[int]) -> set[_Pair]:
    """Take back that folders reach their parts, if no run writes them as a whole any more and no policy declares
    them."""
    gone: set[_Pair] = set()
    for part in _parts(written):
        a, d, ds = t.alias.c, t.run_dataset.c, t.dataset.c
        output = d.dataset_id.in_(part), d.direction == "output"
        whole = set(connection.execute(sa.select(d.dataset_id).where(*output)).scalars())
        declared = ds.id.in_(part), ds.stage == "source"
        whole |= set(connection.execute(sa.select(ds.id).where(*declared)).scalars())
        folders = sorted(set(part) - whole)
        of_them = a.kind == WHOLE, a.dataset_id.in_(folders)
        rows = connection.execute(sa.select(a.dataset_id, a.other_id, a.kind).where(*of_them))
        gone |= {(r[0], r[1], r[2]) for r in rows}
        connection.execute(sa.delete(t.alias).where(*of_them))
    return gone


def _still_said(batch: Batch, targets: Collection[int]) -> set[graph.Edge]:
    """The edges into some datasets that flows, assumptions and aliases give as they are now."""
    connection, step = batch.connection, batch.names.transformations[ASSUMED]
    said: set[graph.Edge] = set()
    pairs: set[_Pair] = set()
    for part in _parts(targets):
        d, f, a, al = t.run_dataset.c, t.flow.c, t.assumed.c, t.alias.c
        flows = sa.select(d.flow_id).where(d.dataset_id.in_(part), d.flow_id.is_not(None))
        for row in connection.execute(sa.select(f.edges).where(f.id.in_(flows.distinct()))):
            said |= _unpacked(bytes(row.edges))
        query = sa.select(a.source_id, a.target_id).where(a.target_id.in_(part)).distinct()
        said |= {whole_edge(r.source_id, r.target_id, step) for r in connection.execute(query)}
        near = sa.or_(al.dataset_id.in_(part), al.other_id.in_(part))
        rows = connection.execute(sa.select(al.dataset_id, al.other_id, al.kind).where(near))
        pairs |= {(r[0], r[1], r[2]) for r in rows}
    ends = {end for one, other, _ in pairs for end in (one, other)}
    for dataset, columns in column_documents(connection, ends).items():
        batch.names.columns[dataset] = {c[0]: i for i, c in enumerate(columns, graph.FIRST_COLUMN)}
    return said | alias_edges(batch, pairs)


def _said_by(
    connection: sa.Connection, table: sa.Table, client: str, since: str
) -> list[sa.Row[tuple[object, ...]]]:
    query = sa.select(table).where(table.c.client == client, table.c.client_at >= since)
    return list(connection.execute(query).all())


def _unpacked(packed: bytes) -> set[graph.Edge]:
    target, edges = graph.unpack_flow(packed)
    return {(s, graph.node(target, to), step) for s, to, step in edges if (s, to, step) != graph.EXPLAINED}  # fmt: skip


def _of(node: sa.ColumnElement[int], dataset: int) -> sa.ColumnElement[bool]:
    return node.between(graph.node(dataset, graph.INTO), graph.node(dataset, graph.OUT_OF))


def _parts(identifiers: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(identifiers)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
