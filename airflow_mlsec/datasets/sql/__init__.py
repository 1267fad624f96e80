"""Tables of SQL databases, as the connectors of SQLite and PostgreSQL share them: `_table` reads, replaces and changes
them, `_values` knows their types, `_references` who refers to rows. May import `files` and what datasets share."""

from airflow_mlsec.datasets.sql._table import SqlDataset

__all__ = ["SqlDataset"]
