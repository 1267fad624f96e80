"""Copies that an erasure does not reach by itself: told in the ledger and in the receipt.

Old versions in a bucket are listed, and erased where the settings allow it. Logs, replicas and backups of
databases and filesystems, and the tags on lists of members, are named: nobody can say from here that
they are gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    KeptBy,
    connector_of,
    files_below,
    open_dataset,
)
from airflow_mlsec.errors import DatasetError
from airflow_mlsec.subjects.search._finding import Finding, Status
from airflow_mlsec.subjects.search._places import Place

# The kind of the findings.
COPIES = "copies"
BEYOND_REACH = "backups, logs and replicas"
_KEPT = {
    KeptBy.DATABASE: "the write-ahead log, replicas and backups of the database",
    KeptBy.FILESYSTEM: "snapshots and backups of the filesystem",
    KeptBy.STORE: "replicas and backups of the bucket",
}


def in_old_versions(
    place: Place, connections: Connections | None, erase: bool
) -> tuple[Finding, int] | None:
    """What a bucket keeps of an erased place, and how many versions were erased just now; None where
    nothing can be kept."""
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
            detail = f"{gone} old versions erased" + (f", {len(left)} are left" if left else "")
            return Finding(name, COPIES, status, len(left) or None, "bucket versions", detail), gone
    except DatasetError as error:
        return Finding(name, COPIES, "unknown", None, "bucket versions", str(error)), 0
    if not found:
        return Finding(name, COPIES, "none", 0, "bucket versions", "the bucket keeps none"), 0
    detail = (
        "they may have the person's rows: a rule of the bucket or a person deletes them, or this does "
        "([mlsec] erase_old_versions = true)"
    )
    return Finding(name, COPIES, "found", len(found), "bucket versions", detail), 0


def in_hard_links(place: Place) -> Finding | None:
    """Other names of a place's files, which keep what they are when it is replaced; asked before it is."""
    path = place.local_files
    if path is None or not path.exists():
        return None
    # Behind links as well, as they are read.
    every = [str(path)] if path.is_file() else files_below(str(path), place.uri or "")
    links = sum(os.stat(p).st_nlink - 1 for p in every)
    if not links:
        return None
    detail = (
        f"{links} hard links, which are other names of its files, keep the rows that were erased: find them (find / "
        "-samefile) and remove them"
    )
    return Finding(f"other names of {place.name}", COPIES, "unknown", None, "hard links", detail)


def in_database(place: Place, connections: Connections | None) -> Finding | None:
    """What acts on rows of a table when they are deleted, or keeps a copy of what it shows."""
    dataset = open_dataset(place.uri or "", connections)
    effects = dataset.side_effects()
    if not effects:
        return None
    detail = (
        f"{', '.join(effects)} of the table may have a copy of the rows that were erased, or have changed others: look there "
        "(refresh views), and settle it"
    )
    name = f"triggers and views of {place.name}"
    return Finding(name, COPIES, "unknown", None, "triggers and views", detail)


def beyond_reach(places: Iterable[Place], tags: int) -> Finding | None:
    """What is known not to be reached, of the places that an erasure changed; ``tags`` is how many lists of
    members have the person."""
    told: dict[str, None] = {}
    for place in places:
        if (can := place.capabilities) is not None:
            told[_KEPT[can.copies]] = None
    if tags:
        told[
            f"the person's tag (a keyed digest) on {tags} lists of members, by which models that were trained with "
            "them are known"
        ] = None
    if not told:
        return None
    detail = f"not looked into, and not changed: {'; '.join(told)}"
    return Finding(BEYOND_REACH, COPIES, "beyond reach", None, "none", detail)
