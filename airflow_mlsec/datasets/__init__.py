"""A dataset by URI: scanned as Arrow record batches in bounded memory, replaced atomically.

`_uri` reads URIs and names datasets as OpenLineage does, `_connections` finds what a URI
refers to, `_file` handles Parquet, CSV and JSON Lines on any filesystem and `_rows` single rows
of them (`_rows_parquet` of Parquet), `_artifact` files of any format as streams, `_versions` what buckets keep of them, `_sql` tables in SQLite and PostgreSQL (`_sql_values` their types, `_sql_references` who
refers to rows). May import `errors`, `settings` and `files`. Start with `_dataset`.
"""

from airflow_mlsec.datasets._artifact import Artifact, as_artifact, open_artifact
from airflow_mlsec.datasets._connections import Connections, EnvironmentConnections, postgresql_url
from airflow_mlsec.datasets._dataset import Dataset, StagedTable, open_dataset, same_place
from airflow_mlsec.datasets._file import parquet_location
from airflow_mlsec.datasets._folders import (
    files_below,
    partition_values,
    refuse_tables,
    visible_files,
)
from airflow_mlsec.datasets._rows import SINGLE, Announce, Condition, Found
from airflow_mlsec.datasets._staging import Staging, staging_beside
from airflow_mlsec.datasets._uri import (
    DatasetName,
    canonical_key,
    canonical_store,
    connection_of,
    dataset_name,
    file_path,
    is_store,
)
from airflow_mlsec.datasets._versions import (
    OldVersion,
    erase_versions,
    keeps_versions,
    object_of,
    old_versions,
)

__all__ = [
    "SINGLE",
    "Announce",
    "Artifact",
    "Condition",
    "Connections",
    "Dataset",
    "DatasetName",
    "EnvironmentConnections",
    "Found",
    "OldVersion",
    "StagedTable",
    "Staging",
    "as_artifact",
    "canonical_key",
    "canonical_store",
    "connection_of",
    "dataset_name",
    "erase_versions",
    "file_path",
    "files_below",
    "is_store",
    "keeps_versions",
    "object_of",
    "old_versions",
    "open_artifact",
    "open_dataset",
    "parquet_location",
    "partition_values",
    "postgresql_url",
    "refuse_tables",
    "same_place",
    "staging_beside",
    "visible_files",
]
