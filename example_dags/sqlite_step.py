"""An operator of your own that runs SQL: lineage only needs it to report the SQL.

It sends the query and the tables with their columns; which column goes where is inferred from
the query (and marked as inferred).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator


class SqliteStep(BaseOperator):
    """Run SQL in a SQLite database; ``reads`` and ``writes`` are names of tables."""

    def __init__(
        self, *, database: str, sql: str, reads: Sequence[str], writes: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.database, self.sql, self.reads, self.writes = database, sql, reads, writes
        self.inlets += [Asset(f"sqlite://{database}/{name}") for name in reads]
        self.outlets.append(Asset(f"sqlite://{database}/{writes}"))

    def execute(self, context: Any) -> int:
        connection = sqlite3.connect(self.database, timeout=60)
        try:
            with connection:
                connection.executescript(
                    f"BEGIN; DROP TABLE IF EXISTS {self.writes}; {self.sql}; COMMIT;"
                )
            [(rows,)] = connection.execute(f"SELECT count(*) FROM {self.writes}")  # noqa: S608
        finally:
            connection.close()
        return rows

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """The query, and the tables with their columns."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import Dataset
        from openlineage.client.facet_v2 import schema_dataset, sql_job

        def table(name: str) -> Dataset:
            connection = sqlite3.connect(self.database)
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            connection.close()
            fields = [schema_dataset.SchemaDatasetFacetFields(name=column) for column in columns]
            facets = {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}
            return Dataset(namespace="sqlite", name=f"{self.database}/{name}", facets=facets)

        return OperatorLineage(
            inputs=[table(name) for name in self.reads],
            outputs=[table(self.writes)],
            job_facets={"sql": sql_job.SQLJobFacet(query=self.sql)},
        )
