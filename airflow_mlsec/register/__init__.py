"""The register: what is known and what was done, in SQLite or PostgreSQL.

`tables` is the schema, `migrations/` its history (Alembic), `_register` opens the database
and runs transactions, `_records` writes and reads what the other packages know, `graph` numbers
the nodes of the lineage graph, `_bulk` moves many rows at once. May import
`errors` and `settings`. Holds names, counts, digests and states, never a personal value.
"""

from airflow_mlsec.register._bulk import (
    array_literals,
    count_removal,
    graph_removals,
    insert_rows,
    lock_graph,
    lock_table,
    rows_of,
)
from airflow_mlsec.register._journal import PROTECTED, erase_text, protected_rows
from airflow_mlsec.register._journal import Tiles as LogTiles
from airflow_mlsec.register._log_entries import (
    LastRows,
    LogEntry,
    read_entries,
)
from airflow_mlsec.register._records import (
    column_documents,
    dataset_id,
    enrich_columns,
    find_dataset,
    likely_kind,
    record_policy,
    refuse_if_requests_did_more,
    requests_did_more,
    requests_done,
    set_dataset,
    upsert,
    write_column_documents,
)
from airflow_mlsec.register._register import TRUSTED, Register, keeps_open
from airflow_mlsec.register._rings import RingRecorder, known_ring, replace_ring
from airflow_mlsec.register._rows_beside import RowsBeside
from airflow_mlsec.register._sole_writer import sole_writer

__all__ = [
    "PROTECTED",
    "TRUSTED",
    "LastRows",
    "LogEntry",
    "LogTiles",
    "Register",
    "RingRecorder",
    "RowsBeside",
    "array_literals",
    "column_documents",
    "count_removal",
    "dataset_id",
    "enrich_columns",
    "erase_text",
    "find_dataset",
    "graph_removals",
    "insert_rows",
    "keeps_open",
    "known_ring",
    "likely_kind",
    "lock_graph",
    "lock_table",
    "protected_rows",
    "read_entries",
    "record_policy",
    "refuse_if_requests_did_more",
    "replace_ring",
    "requests_did_more",
    "requests_done",
    "rows_of",
    "set_dataset",
    "sole_writer",
    "upsert",
    "write_column_documents",
]
