"""Tables of SQL databases, shared by the connectors of SQLite and PostgreSQL: `_table` reads, replaces and changes
them, `_values` knows their types, `_references` what refers to rows. May import `files` and what datasets share."""

from airflow_mlsec.datasets.sql._table import SqlDataset

__all__ = ["SqlDataset"]
