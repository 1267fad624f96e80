"""The two kinds of entry: a finding answers a question about an asset; an act is a decision or action on an asset.

They are the only form in which outcomes are kept. Entries are never changed or removed: the last entry gives the
current state. Each is written in the same transaction as what it is about, and the audit log accounts for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.ledger._reason import Reason, Words, as_documents, in_words, read_reasons
from airflow_mlsec.register import tables as t


class AssetKind(StrEnum):
    """What an entry can be about."""

    DATASET = "dataset"
    COLUMN = "column"
    MODEL = "model"
    ARTIFACT = "artifact"
    CONNECTION = "connection"
    LOCATION = "location"
    DEPLOYMENT = "deployment"
    TEAM = "team"
    PERSON = "person"
    REQUEST = "request"
    PLACE = "place"
    KEY = "key"
    TASK = "task"
    RULES = "rules"
    # A processor or recipient, or a controller, by its name in `organization.yaml`.
    PARTY = "party"
    # A legal hold, by its number.
    HOLD = "hold"
    # A document for an authority, by its kind and what it is about.
    DOCUMENT = "document"


class Outcome(StrEnum):
    """The answer of a finding. ``unknown`` is the only word for missing evidence; it never counts as passed."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"
    EXEMPT = "exempt"

    @property
    def holds(self) -> bool:
        """Whether nothing has to be done."""
        return self in (Outcome.PASS, Outcome.NOT_APPLICABLE, Outcome.EXEMPT)


@dataclass(frozen=True)
class Asset:
    """What an entry is about. A person here is somebody with a role, never a data subject. The name of a dataset is
    OpenLineage's (``namespace/name``); the name of a request is its number."""

    kind: AssetKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


@dataclass(frozen=True)
class Finding:
    """A question (``control``) about an asset, and its answer. ``evidence`` holds names, counts and digests, never
    a person's value; ``request`` is the number of the request for which the question was asked."""

    asset: Asset
    control: str
    outcome: Outcome
    reasons: tuple[Reason, ...]
    by: str
    at: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    request: int | None = None

    @property
    def words(self) -> Words:
        """Why, for people."""
        return in_words(self.reasons)


@dataclass(frozen=True)
class Act:
    """A decision about an asset or an action on it, with who took it and why."""

    asset: Asset
    verb: str
    reasons: tuple[Reason, ...]
    by: str
    at: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    request: int | None = None

    @property
    def words(self) -> Words:
        """Why, for people."""
        return in_words(self.reasons)


def record(connection: sa.Connection, entries: Iterable[Finding | Act]) -> None:
    """Write entries in the caller's transaction. This is the only way to record outcomes and decisions."""
    findings: list[dict[str, Any]] = []
    acts: list[dict[str, Any]] = []
    for entry in entries:
        row = {
            "asset_kind": entry.asset.kind.value,
            "asset": entry.asset.name,
            "reasons": as_documents(entry.reasons),
            "evidence": dict(entry.evidence),
            "by": entry.by,
            "at": entry.at,
            "request_id": entry.request,
        }
        if isinstance(entry, Finding):
            findings.append({**row, "control": entry.control, "outcome": entry.outcome.value})
        else:
            acts.append({**row, "verb": entry.verb})
    if findings:
        connection.execute(sa.insert(t.finding), findings)
    if acts:
        connection.execute(sa.insert(t.act), acts)


def findings(
    connection: sa.Connection,
    asset: Asset | None = None,
    control: str | None = None,
    request: int | None = None,
) -> list[Finding]:
    """Findings in the order they were written; all, or those of an asset, control or request."""
    f = t.finding.c
    query = _chosen(sa.select(t.finding), f, asset, request)
    query = query if control is None else query.where(f.control == control)
    return [_finding(row) for row in connection.execute(query.order_by(f.id))]


def latest_finding(connection: sa.Connection, asset: Asset, control: str) -> Finding | None:
    """The last answer to a question about an asset; None if it was never asked."""
    f = t.finding.c
    query = _chosen(sa.select(t.finding), f, asset, None).where(f.control == control)
    row = connection.execute(query.order_by(f.id.desc()).limit(1)).first()
    return None if row is None else _finding(row)


def last_findings(connection: sa.Connection) -> list[Finding]:
    """The last answer to each question that was ever asked about an asset."""
    f = t.finding.c
    last = sa.select(sa.func.max(f.id)).group_by(f.asset_kind, f.asset, f.control)
    rows = connection.execute(sa.select(t.finding).where(f.id.in_(last)).order_by(f.id))
    return [_finding(row) for row in rows]


def acts(
    connection: sa.Connection,
    asset: Asset | None = None,
    verb: str | Collection[str] | None = None,
    request: int | None = None,
) -> list[Act]:
    """Acts in the order they were written; all, or those of an asset, of one or several verbs, or of a request."""
    a = t.act.c
    query = _chosen(sa.select(t.act), a, asset, request)
    if verb is not None:
        query = query.where(a.verb.in_([verb] if isinstance(verb, str) else [*verb]))
    return [_act(row) for row in connection.execute(query.order_by(a.id))]


def _chosen(
    query: sa.Select[Any], columns: Any, asset: Asset | None, request: int | None
) -> sa.Select[Any]:
    if asset is not None:
        query = query.where(columns.asset_kind == asset.kind.value, columns.asset == asset.name)
    return query if request is None else query.where(columns.request_id == request)


def _finding(row: Any) -> Finding:
    return Finding(
        Asset(AssetKind(row.asset_kind), row.asset), row.control, Outcome(row.outcome),
        read_reasons(row.reasons), row.by, row.at, row.evidence, row.request_id,
    )  # fmt: skip


def _act(row: Any) -> Act:
    return Act(
        Asset(AssetKind(row.asset_kind), row.asset), row.verb, read_reasons(row.reasons), row.by, row.at,
        row.evidence, row.request_id,
    )  # fmt: skip
