"""Copies that an erasure does not reach by itself: reported in the ledger and in the receipt.

Old versions in a bucket are listed, and erased where the settings allow it. Logs, replicas and backups of
databases and filesystems, and the tags on membership lists, are only named: it cannot be determined from here
whether they are gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    KeptBy,
    connector_of,
    files_below,
    open_dataset,
)
from airflow_mlsec.errors import DatasetError
from airflow_mlsec.ledger import Reason
from airflow_mlsec.subjects.search import _reasons as reasons
from airflow_mlsec.subjects.search._finding import Finding, Status
from airflow_mlsec.subjects.search._places import Place

# The kind of the findings.
COPIES = "copies"
BEYOND_REACH = "backups, logs and replicas"
_KEPT: Mapping[KeptBy, Reason] = {
    KeptBy.DATABASE: reasons.DatabaseKeeps(),
    KeptBy.FILESYSTEM: reasons.FilesystemKeeps(),
    KeptBy.STORE: reasons.StoreKeeps(),
}


def in_old_versions(
    place: Place, connections: Connections | None, erase: bool
) -> tuple[Finding, int] | None:
    """The old versions that a bucket keeps of an erased place, and how many were erased just now; None where
    no old versions can be kept."""
    versions = None if place.uri is None else connector_of(place.uri).versions
    if place.uri is None or versions is None:
        return None
    name, reached = f"old versions of {place.name}", connections or EnvironmentConnections()
    try:
        found = versions.of(place.uri, reached)
        if found is None:
            return None
        if found and erase:
            gone = versions.erase(place.uri, found, reached)
            left = versions.of(place.uri, reached) or []
            status: Status = "found" if left else "erased"
            rows = len(left) or None
            erased = reasons.VersionsErased(gone, rows)
            return _of_versions(name, status, rows, erased), gone
    except DatasetError as error:
        return _of_versions(name, "unknown", None, reasons.ErrorSays(str(error))), 0
    if not found:
        return _of_versions(name, "none", 0, reasons.NoVersionsKept()), 0
    return _of_versions(name, "found", len(found), reasons.VersionsKept()), 0


def _of_versions(name: str, status: Status, rows: int | None, why: Reason) -> Finding:
    return Finding(name, COPIES, status, rows, (reasons.BucketVersions(),), (why,))


def in_hard_links(place: Place) -> Finding | None:
    """Other names (hard links) of a place's files, which keep the old content when the place is replaced. Called
    before it is replaced."""
    path = place.local_files
    if path is None or not path.exists():
        return None
    # Symbolic links are followed, as they are when reading.
    every = [str(path)] if path.is_file() else files_below(str(path), place.uri or "")
    links = sum(os.stat(p).st_nlink - 1 for p in every)
    if not links:
        return None
    name, why = f"other names of {place.name}", (reasons.HardLinks(links),)
    return Finding(name, COPIES, "unknown", None, (reasons.LinksOfFiles(),), why)


def in_database(place: Place, connections: Connections | None) -> Finding | None:
    """Triggers that act when rows of a table are deleted, and views that keep a copy of rows."""
    dataset = open_dataset(place.uri or "", connections)
    effects = dataset.side_effects()
    if not effects:
        return None
    name, why = f"triggers and views of {place.name}", (reasons.SideEffects(tuple(effects)),)
    return Finding(name, COPIES, "unknown", None, (reasons.TableEffects(),), why)


def beyond_reach(places: Iterable[Place], tags: int) -> Finding | None:
    """Copies known to be out of reach, for the places that an erasure changed; ``tags`` is how many membership
    lists have the person."""
    told: dict[Reason, None] = {}
    for place in places:
        if (can := place.capabilities) is not None:
            told[_KEPT[can.copies]] = None
    if tags:
        told[reasons.MembersKept(tags)] = None
    if not told:
        return None
    why = (reasons.BeyondReach(tuple(told)),)
    return Finding(BEYOND_REACH, COPIES, "beyond reach", None, (), why)
