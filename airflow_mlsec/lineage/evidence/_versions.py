"""Versions of artifacts: the register numbers them, so that an older one in the place of a newer one is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.ledger import ArtifactStatement
from airflow_mlsec.lineage.evidence._evidence import (
    ARTIFACT,
    INTENDED,
    PUBLISHED,
    WITHDRAWN,
    believed,
    trusted_by,
)
from airflow_mlsec.processes import has_ended, is_seen_from_here, this_process
from airflow_mlsec.register import lock_graph
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class ArtifactVersion:
    """A version of an artifact that is or was going to be published, by its signed statement. Statements from before
    artifacts had versions are version 0."""

    version: int
    evidence: str
    published_at: str | None
    recorded_at: str
    sha256: str
    envelope: dict[str, Any]


def artifact_versions(connection: sa.Connection, *names: DatasetName) -> list[ArtifactVersion]:
    """The versions of an artifact that the register knows under any of its names, in the order in which they were recorded;
    without those that were never there."""
    e, trusted = t.evidence.c, trusted_by(connection)
    query = _of(names, e.digest, e.envelope, e.outcome, e.published_at, e.recorded_at)
    found = []
    for row in connection.execute(query.where(e.outcome != WITHDRAWN)):
        statement = believed(row.envelope, trusted)
        if statement is None or not isinstance(statement.predicate, ArtifactStatement):
            continue
        published = row.published_at if row.outcome == PUBLISHED else None
        number = statement.predicate.version or 0
        sha256 = next(iter(dict(statement.subjects).values()))
        found.append(ArtifactVersion(number, row.digest, published, row.recorded_at, sha256, row.envelope))  # fmt: skip
    return found


def next_version(connection: sa.Connection, name: DatasetName) -> int:
    """The number after those that any statement about an artifact ever had: also of one that was withdrawn, or whose key is
    not trusted at the moment."""
    documents = connection.execute(_of([name], t.evidence.c.statement)).scalars()
    numbers = [((document or {}).get("predicate") or {}).get("version") for document in documents]
    return max((n for n in numbers if isinstance(n, int)), default=0) + 1


def newest_published(versions: Sequence[ArtifactVersion]) -> ArtifactVersion | None:
    """The newest of them that was published."""
    known = [version for version in versions if version.published_at is not None]
    return max(known, key=lambda version: version.version, default=None)


def refuse_taken_version(connection: sa.Connection, name: DatasetName, evidence: str) -> None:
    """Check, with the graph's lock held since ``evidence`` was recorded, that no other statement has its version or a later
    one, and that nobody else is about to publish one.

    :raises ChangedMeanwhile: if so: what was read may be older than what is there now.
    """
    lock_graph(connection)
    known = artifact_versions(connection, name)
    own = max((version.version for version in known if version.evidence == evidence), default=0)
    others = max((version.version for version in known if version.evidence != evidence), default=0)
    if own and others >= own:
        raise ChangedMeanwhile(
            f"another run wrote {name.name} at the same time (version {others}); nothing was published, run it again"
        )
    e = t.evidence.c
    query = _of([name], e.writer).where(e.outcome == INTENDED, e.digest != evidence)
    for writer in connection.execute(query).scalars():
        busy = writer and writer != this_process() and is_seen_from_here(writer)
        if busy and not has_ended(writer):
            raise ChangedMeanwhile(
                f"another process of this machine is publishing {name.name}; nothing was published, run it again"
            )


def _of(names: Sequence[DatasetName], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    e, d = t.evidence.c, t.dataset.c
    either = [sa.and_(d.namespace == name.namespace, d.name == name.name) for name in names]
    return (
        sa.select(*columns)
        .join(t.dataset, d.id == e.dataset_id)
        .where(e.predicate_type == ARTIFACT, sa.or_(sa.false(), *either))
        .order_by(e.id)
    )
