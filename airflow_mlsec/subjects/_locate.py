"""Finding one person everywhere: through raw values, pseudonyms and membership lists.

The search covers everything that the lineage reaches from the datasets whose policy is about
this kind of subject. For each, a *locator* follows from policy and evidence; where there is
none, the answer is ``unknown`` with the reason, never silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from airflow_mlsec.anonymize import canonical_bytes, is_member, pseudonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Connections, Dataset, open_dataset
from airflow_mlsec.errors import ColumnMissing, MlsecError, UsageError
from airflow_mlsec.lineage import (
    columns_of,
    edges_within,
    releases,
    transformations,
    walk,
)
from airflow_mlsec.register import Register, graph
from airflow_mlsec.register import tables as t

Status = Literal["found", "none", "unknown", "failed"]


@dataclass(frozen=True)
class Finding:
    """What was found in one place. ``evidence`` says how it is known."""

    dataset: str
    kind: str
    status: Status
    rows: int | None
    locator: str
    evidence: str


@dataclass(frozen=True)
class Location:
    """Everywhere that one person's data is, or may be."""

    subject_kind: str
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether every place could be answered for."""
        return all(finding.status in ("found", "none") for finding in self.findings)


@dataclass(frozen=True)
class _Place:
    id: int
    name: str
    kind: str
    uri: str | None
    stage: str | None
    subject: dict[str, str] | None


@dataclass(frozen=True)
class _Search:
    key: str
    kind: str
    keys: KeyRing
    connections: Connections | None
    releases: dict[int, list[dict[str, Any]]]
    ancestors: dict[int, set[int]]
    identity: set[tuple[int, str]]


def locate(
    register: Register,
    keys: KeyRing,
    kind: str,
    key: str,
    *,
    connections: Connections | None = None,
    requested_by: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Location:
    """Find the person of subject ``kind`` with this ``key`` (an e-mail address, a customer
    number) in every dataset, artifact and model. The request is recorded, under a keyed digest.

    :raises UsageError: if no dataset of the register is about this kind of subject.
    """
    places, search = register.read(lambda c: _prepare(c, kind, key, keys, connections))
    findings = []
    for place in places:
        progress(f"searching {place.name}")
        findings.append(_find(place, search))
    location = Location(kind, tuple(findings))
    _record(register, keys, location, key, requested_by)
    return location


def _prepare(
    connection: sa.Connection, kind: str, key: str, keys: KeyRing, connections: Connections | None
) -> tuple[list[_Place], _Search]:
    d = t.dataset.c
    query = sa.select(t.dataset, t.policy.c.document).outerjoin(
        t.policy, d.policy_digest == t.policy.c.digest
    )
    places = {}
    for row in connection.execute(query.order_by(d.id)):
        subject = row.document["subject"] if row.document else None
        where = row.name if row.namespace in ("file", "sqlite") else f"{row.namespace}/{row.name}"
        places[row.id] = _Place(row.id, where, row.kind, row.uri, row.stage, subject)
    roots = [
        p
        for p in places.values()
        if p.stage == "source" and p.subject and p.subject["kind"] == kind
    ]
    if not roots:
        kinds = sorted({p.subject["kind"] for p in places.values() if p.subject})
        raise UsageError(
            f"the register knows no dataset about subjects of kind '{kind}'; it knows "
            f"{', '.join(kinds) or 'none yet: run a DAG with ComplianceCheckOperator first'}"
        )
    edges = edges_within(connection, [graph.node(p.id, graph.INTO) for p in roots], "down")
    ancestors = _ancestors(edges)
    covered = {p.id for p in roots} | {graph.dataset_of(target) for _, target, _ in edges}
    identity = _copies_of_key(connection, roots, edges)
    search = _Search(key, kind, keys, connections, releases(connection), ancestors, identity)
    return [places[i] for i in sorted(covered)], search


def _ancestors(edges: list[tuple[int, int, int]]) -> dict[int, set[int]]:
    """By dataset, the datasets that it comes from, near or far."""
    before: dict[int, set[int]] = {}
    for source, target, _ in edges:
        if graph.dataset_of(source) != graph.dataset_of(target):
            before.setdefault(graph.dataset_of(target), set()).add(graph.dataset_of(source))
    found = {}
    for dataset in before:
        above: set[int] = set()
        todo = [dataset]
        while todo:
            new = before.get(todo.pop(), set()) - above
            above |= new
            todo += new
        found[dataset] = above - {dataset}
    return found


def _copies_of_key(
    connection: sa.Connection, roots: list[_Place], edges: list[tuple[int, int, int]]
) -> set[tuple[int, str]]:
    """Columns that hold the raw key because every step to them was an identity."""
    steps = transformations(connection, {step for _, _, step in edges})
    same = {i for i, step in steps.items() if _is_identity(step)}
    names = {
        graph.node(dataset, ordinal): (dataset, name)
        for dataset, name, ordinal in columns_of(
            connection, {p.id for p in roots} | {graph.dataset_of(target) for _, target, _ in edges}
        )
    }
    keys = {(p.id, p.subject["key"]) for p in roots if p.subject}
    starts = [node for node, place in names.items() if place in keys]
    copies = walk([edge for edge in edges if edge[2] in same], starts, "down")
    return {names[node] for node in copies.distance if node in names}


def _is_identity(step: Any) -> bool:
    if step.kind in ("same", "renamed"):
        return True
    said = (step.subtype or step.description or "").upper()
    return bool(step.kind == "direct" and said == "IDENTITY")


def _find(place: _Place, search: _Search) -> Finding:
    try:
        if place.id in search.releases:
            return _in_release(place, search)
        if place.kind in ("model", "artifact", "file"):
            return _in_artifact(place, search)
        if place.stage == "source" and place.subject and place.subject["kind"] == search.kind:
            return _by_key(place, place.subject["key"], "the policy's subject key", search)
        for dataset, column in sorted(search.identity):
            if dataset == place.id:
                return _by_key(place, column, "lineage: an unchanged copy of the key", search)
        return _in_artifact(place, search)
    except MlsecError as error:
        return Finding(
            place.name, place.kind, "failed", None, "none", f"could not be searched: {error}"
        )
    except Exception as error:
        # One place that cannot be read must not hide the others; its message may quote a value.
        reason = f"could not be searched: unexpected {type(error).__name__}"
        return Finding(place.name, place.kind, "failed", None, "none", reason)


def _by_key(place: _Place, column: str, why: str, search: _Search) -> Finding:
    dataset = _open(place, search)
    rows = dataset.count_in(column, _as_key(search.key, dataset, column))
    status: Status = "found" if rows else "none"
    return Finding(place.name, place.kind, status, rows, f"raw value in column '{column}'", why)


def _in_release(place: _Place, search: _Search) -> Finding:
    predicate = search.releases[place.id][-1]
    subject = predicate["subject"]
    if subject is None or subject["kind"] != search.kind:
        return Finding(
            place.name,
            place.kind,
            "unknown",
            None,
            "none",
            "released under a policy of other subjects",
        )
    how = predicate["columns"].get(subject["key"], {})
    evidence = f"signed release, plan {predicate['plan'][:12]}"
    if how.get("method") == "pseudonymize":
        dataset = _open(place, search)
        tokens = [
            pseudonymize(pa.array([search.key]), subject["key"], version.secret)[0].as_py()
            for version in search.keys.live(how["key"])
        ]
        rows = dataset.count_in(subject["key"], tokens) if tokens else 0
        locator = f"pseudonym in column '{subject['key']}' ({how['key']}, versions searched: {len(tokens)})"
        if not tokens:
            reason = f"every version of key {how['key']} is destroyed: nobody can link the rows"
            return Finding(place.name, place.kind, "none", 0, locator, reason)
        return Finding(place.name, place.kind, "found" if rows else "none", rows, locator, evidence)
    if predicate["membership"]:
        return _by_membership(place, search, predicate, evidence)
    reason = f"{evidence}: the key was removed and no membership list was kept"
    return Finding(place.name, place.kind, "unknown", None, "none", reason)


def _in_artifact(place: _Place, search: _Search) -> Finding:
    """A model or artifact holds whom the releases that it came from held: any of them, since a
    model does not forget whom a later release has left out."""
    sources = [
        search.releases[i]
        for i in sorted(search.ancestors.get(place.id, set()))
        if i in search.releases
    ]
    # A retry replaces its own list; the later statement is the one that speaks of the file.
    lists = {
        predicate["membership"]["path"]: predicate
        for source in sources
        for predicate in source
        if predicate["membership"]
    }
    if not lists or any(source[-1]["membership"] is None for source in sources):
        reason = "its sources reach here by lineage, and no membership list says who is in it"
        return Finding(place.name, place.kind, "unknown", None, "none", reason)
    newest_first = reversed(list(lists.values()))
    found = [_by_membership(place, search, p, "lineage to the release") for p in newest_first]
    hits = [finding for finding in found if finding.status == "found"]
    return hits[0] if hits else found[0]


def _by_membership(
    place: _Place, search: _Search, predicate: dict[str, Any], evidence: str
) -> Finding:
    kept = predicate["membership"]
    member = is_member(Path(kept["path"]), kept["sha256"], search.kind, search.key, search.keys)
    source = predicate["target"]["name"].rsplit("/", 1)[-1]
    text = f"{evidence} {source}, plan {predicate['plan'][:12]}"
    status: Status = "found" if member else "none"
    return Finding(place.name, place.kind, status, None, "membership list", text)


def _open(place: _Place, search: _Search) -> Dataset:
    if place.uri is None:
        raise UsageError("the register has no URI to open it by")
    return open_dataset(place.uri, search.connections)


def _as_key(key: str, dataset: Dataset, column: str) -> list[object]:
    """The key in the column's own type, if that type can hold it."""
    schema = dataset.schema()
    if column not in schema.names:
        raise ColumnMissing.among([column], schema.names, f"of '{dataset.uri}'")
    try:
        typed = pa.array([key], pa.string()).cast(schema.field(column).type)
    except (pa.ArrowException, TypeError):
        return []
    kind = typed.type
    number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    same = canonical_bytes(typed, column).to_pylist() == [key.encode()]
    # 1.10 is how people write the number 1.1; 007 is not how they write 7.
    same = same or (number and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", key) is not None)
    return [typed[0].as_py()] if same else []


def _record(
    register: Register, keys: KeyRing, location: Location, key: str, requested_by: str | None
) -> None:
    reference = HMAC(keys.ensure("subject-reference").secret, hashes.SHA256())
    reference.update(f"{location.subject_kind}\0{key}".encode())
    values = {
        "kind": "locate",
        "subject_kind": location.subject_kind,
        "subject_digest": reference.finalize().hex(),
        "status": "complete" if location.complete else "open",
        "requested_at": register.now(),
        "requested_by": requested_by,
        "ledger": [
            {"dataset": f.dataset, "status": f.status, "rows": f.rows, "locator": f.locator}
            for f in location.findings
        ],
    }
    register.write(lambda connection: connection.execute(sa.insert(t.request).values(values)))
