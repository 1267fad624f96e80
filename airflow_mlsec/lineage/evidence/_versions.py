"""Versions of artifacts: the register numbers them, so that an older one in the place of a newer one is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.ledger import ArtifactStatement
from airflow_mlsec.lineage.evidence._evidence import (
    ARTIFACT,
    PUBLISHED,
    WITHDRAWN,
    believed,
    trusted_by,
)
from airflow_mlsec.register import lock_graph
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class ArtifactVersion:
    """A version of an artifact that is or was going to be published, by its signed statement. Statements from before
    artifacts had versions are version 0."""

    version: int
    evidence: str
    published_at: str | None
    sha256: str
    envelope: dict[str, Any]


def artifact_versions(connection: sa.Connection, name: DatasetName) -> list[ArtifactVersion]:
    """The versions of an artifact that the register knows, in the order in which they were recorded; without those that
    were never there."""
    e, d = t.evidence.c, t.dataset.c
    query = (
        sa.select(e.digest, e.envelope, e.outcome, e.published_at)
        .join(t.dataset, d.id == e.dataset_id)
        .where(d.namespace == name.namespace, d.name == name.name)
        .where(e.predicate_type == ARTIFACT, e.outcome != WITHDRAWN)
    )
    found, trusted = [], trusted_by(connection)
    for row in connection.execute(query.order_by(e.id)):
        statement = believed(row.envelope, trusted)
        if statement is None or not isinstance(statement.predicate, ArtifactStatement):
            continue
        published = row.published_at if row.outcome == PUBLISHED else None
        number = statement.predicate.version or 0
        sha256 = next(iter(dict(statement.subjects).values()))
        found.append(ArtifactVersion(number, row.digest, published, sha256, row.envelope))
    return found


def newest_published(versions: list[ArtifactVersion]) -> ArtifactVersion | None:
    """The newest of them that was published."""
    known = [version for version in versions if version.published_at is not None]
    return max(known, key=lambda version: version.version, default=None)


def refuse_taken_version(connection: sa.Connection, name: DatasetName, evidence: str) -> None:
    """Check, with the graph's lock held since ``evidence`` was recorded, that no other statement has its version or a later
    one.

    :raises ChangedMeanwhile: if one has.
    """
    lock_graph(connection)
    known = artifact_versions(connection, name)
    own = max((version.version for version in known if version.evidence == evidence), default=0)
    others = max((version.version for version in known if version.evidence != evidence), default=0)
    if own and others >= own:
        raise ChangedMeanwhile(
            f"another run wrote {name.name} at the same time (version {others}); nothing was published, run it again"
        )
