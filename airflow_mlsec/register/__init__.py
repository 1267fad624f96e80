"""The register: what is known and what was done, in SQLite or PostgreSQL.

`tables` is the schema, `migrations/` its history (Alembic), `_register` opens the database
and runs transactions, `_records` writes and reads what the other packages know. May import
`errors` and `settings`. Holds names, counts, digests and states, never a personal value.
"""

from airflow_mlsec.register._records import (
    dataset_id,
    enrich_columns,
    find_dataset,
    record_check_results,
    record_policy,
    set_dataset,
    upsert,
)
from airflow_mlsec.register._register import Register

__all__ = [
    "Register",
    "dataset_id",
    "enrich_columns",
    "find_dataset",
    "record_check_results",
    "record_policy",
    "set_dataset",
    "upsert",
]
