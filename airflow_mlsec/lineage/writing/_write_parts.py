"""A folder is one dataset with parts, and a table may be named with its database or without.

What is written into a file below a folder is in the folder; what is written into the folder as a whole, or
declared of it, is in every file below. Names of SQL tables that leave out the database or the schema may
mean any table whose name ends so: this is assumed, in both directions, and nothing is ever done because of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

import sqlalchemy as sa

from airflow_mlsec.naming import names_files, names_in_schemas
from airflow_mlsec.register import rows_of
from airflow_mlsec.register import tables as t

# Kinds of alias: from a part to its folder, a folder to its part, a name to what it may mean.
PART, WHOLE, PERHAPS = "part", "whole", "perhaps"
# Names with this many parts (catalog, schema and table) or more leave nothing out.
_FULL = 3

Pair = tuple[int, int, str]
Named = tuple[int, str, str]


def related(connection: sa.Connection, datasets: Iterable[Named]) -> set[Pair]:
    """How some datasets (id, namespace, name) relate to others, as aliases."""
    in_folders: dict[str, dict[str, int]] = defaultdict(dict)
    in_databases: dict[str, dict[str, int]] = defaultdict(dict)
    for identifier, namespace, name in datasets:
        if names_files(namespace) and name.strip("/"):
            in_folders[namespace][name] = identifier
        elif names_in_schemas(namespace):
            in_databases[namespace][name] = identifier
    pairs: set[Pair] = set()
    for namespace, names in in_folders.items():
        pairs |= set(_parts(connection, namespace, names))
    for namespace, names in in_databases.items():
        pairs |= set(_perhaps(connection, namespace, names))
    return pairs | set(_wholes(connection, {folder for _, folder, _ in pairs}, pairs))


def made_whole(connection: sa.Connection, folders: Collection[int]) -> set[Pair]:
    """For datasets that were written or declared as a whole: their parts have all of it."""
    a = t.alias.c
    query = sa.select(a.dataset_id, a.other_id).where(a.kind == PART)
    if not connection.execute(query.limit(1)).first():
        return set()
    rows = rows_of(
        connection, t.alias, ("dataset_id", "other_id", "kind"), ("other_id",), sorted(folders)
    )
    return {(folder, part, WHOLE) for part, folder, kind in rows if kind == PART}


def _parts(connection: sa.Connection, namespace: str, names: dict[str, int]) -> Iterator[Pair]:
    above: dict[str, list[int]] = defaultdict(list)
    for name, identifier in names.items():
        folder = name.rstrip("/").rpartition("/")[0]
        while folder:
            above[folder].append(identifier)
            folder = folder.rpartition("/")[0]
    known = rows_of(
        connection, t.dataset, ("namespace", "name", "id"), ("namespace", "name"),
        sorted((namespace, folder) for folder in above),
    )  # fmt: skip
    for _, folder, identifier in known:
        yield from ((part, identifier, PART) for part in above[folder])
    d = t.dataset.c
    for name, identifier in names.items():
        base = name.rstrip("/")
        # "0" comes after "/".
        query = sa.select(d.id).where(
            d.namespace == namespace, d.name > f"{base}/", d.name < f"{base}0"
        )
        for part in connection.execute(query).scalars():
            if part != identifier:
                yield part, identifier, PART


def _wholes(
    connection: sa.Connection, folders: set[int], pairs: Collection[Pair]
) -> Iterator[Pair]:
    """The same for folders that were written as a whole, or whose content a policy declares."""
    if not folders:
        return
    written = rows_of(
        connection, t.run_dataset, ("dataset_id", "direction"), ("dataset_id",), sorted(folders)
    )
    whole = {dataset for dataset, direction in written if direction == "output"}
    stages = rows_of(connection, t.dataset, ("id", "stage"), ("id",), sorted(folders))
    whole |= {dataset for dataset, stage in stages if stage == "source"}
    for part, folder, kind in pairs:
        if kind == PART and folder in whole:
            yield folder, part, WHOLE


def _perhaps(connection: sa.Connection, namespace: str, names: dict[str, int]) -> Iterator[Pair]:
    d = t.dataset.c
    for name, identifier in names.items():
        parts = name.split(".")
        shorter = [".".join(parts[i:]) for i in range(1, len(parts))]
        if shorter:
            query = sa.select(d.id).where(d.namespace == namespace, d.name.in_(shorter))
            for other in connection.execute(query).scalars():
                yield other, identifier, PERHAPS
        if len(parts) < _FULL:
            longer = d.name.endswith(f".{name}", autoescape=True)
            query = sa.select(d.id).where(d.namespace == namespace, longer)
            for other in connection.execute(query).scalars():
                yield identifier, other, PERHAPS
