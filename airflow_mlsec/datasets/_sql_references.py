"""Foreign keys that lead to rows which are about to go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_mlsec.errors import DatasetError

if TYPE_CHECKING:
    from airflow_mlsec.datasets._sql import SqlDataset

_CASCADES = ("CASCADE", "SET NULL", "SET DEFAULT")


def refuse_cascades(
    dataset: SqlDataset,
    connection: sa.Connection,
    target: sa.TableClause,
    condition: sa.ColumnElement[bool],
) -> None:
    """Rows of other tables must not go, or change, with these: they may have to be kept.

    :raises DatasetError: if some would.
    """
    for name, columns, referred, action in _referring(dataset, connection):
        if action not in _CASCADES:
            continue
        child = sa.table(name, *(sa.column(c) for c in columns), schema=dataset.schema_name)
        pairs = zip(columns, referred, strict=True)
        joined = sa.and_(*(child.c[one] == target.c[other] for one, other in pairs))
        query = sa.select(sa.func.count()).select_from(child)
        gone = sa.select(sa.literal(1)).select_from(target).where(joined, condition)
        if rows := connection.execute(query.where(sa.exists(gone))).scalar_one():
            raise DatasetError(
                f"'{dataset.uri}': {rows} rows of table '{name}' refer to these rows and would change "
                f"with them (ON DELETE {action}); erase or settle those first"
            )


def _referring(
    dataset: SqlDataset, connection: sa.Connection
) -> Iterator[tuple[str, list[str], list[str], str]]:
    """Foreign keys to this table: child table, its columns, ours, and the action on delete."""
    inspector = sa.inspect(connection)
    own = inspector.get_pk_constraint(dataset.table_name, schema=dataset.schema_name)
    for name in inspector.get_table_names(schema=dataset.schema_name):
        if dataset.dialect == "sqlite":
            quoted = connection.dialect.identifier_preparer.quote_identifier(name)
            found: dict[int, list[Any]] = {}
            for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list({quoted})"):
                if str(row[2]).lower() == dataset.table_name.lower():
                    found.setdefault(row[0], []).append(row)
            for rows in found.values():
                keys = own["constrained_columns"]
                referred = [row[4] or keys[row[1]] for row in rows]
                yield name, [row[3] for row in rows], referred, str(rows[0][6]).upper()
            continue
        for key in inspector.get_foreign_keys(name, schema=dataset.schema_name):
            if key["referred_table"] == dataset.table_name:
                action = str(key.get("options", {}).get("ondelete", "")).upper()
                yield name, key["constrained_columns"], key["referred_columns"], action
