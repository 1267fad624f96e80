"""A dataset by URI: scanned as Arrow record batches in bounded memory, replaced atomically.

`_dataset` says what every dataset can do and `_connector` what every kind of dataset is; `_registry` finds them. Each folder
of `connectors` is one kind; `sql` is what the database kinds share. `_connections` finds what a URI refers to. May import
`errors`, `naming`, `extensions`, `settings` and `files`. Start with `_connector`.
"""

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connections import EnvironmentConnections, database_url
from airflow_mlsec.datasets._connector import (
    Capabilities,
    Connector,
    Container,
    Grant,
    KeptBy,
    OldVersion,
    Part,
    Reading,
    Versions,
)
from airflow_mlsec.datasets._dataset import Dataset, StagedTable
from airflow_mlsec.datasets._endpoint import (
    Asked,
    ConnectionFacts,
    Endpoint,
    Local,
    Start,
    Unknown,
    host_of,
    is_false,
    is_true,
    is_unverified,
    text_of,
)
from airflow_mlsec.datasets._found import SINGLE, Announce, Condition, Found, fulfilled
from airflow_mlsec.datasets._posix_grants import grants_of_path
from airflow_mlsec.datasets._registry import (
    all_connectors,
    capabilities_of,
    connection_of,
    connector_of,
    container_of,
    containers,
    dataset_name,
    keeps_writers_apart,
    local_files,
    local_path,
    open_dataset,
    place_of,
    same_place,
    uri_of,
)
from airflow_mlsec.datasets._uri import UriParts, file_and_table, parts_of
from airflow_mlsec.datasets.connectors.files._artifact import Artifact, as_artifact, open_artifact
from airflow_mlsec.datasets.connectors.files._file import parquet_location
from airflow_mlsec.datasets.connectors.files._folders import files_below, visible_files
from airflow_mlsec.datasets.connectors.files._location import file_path
from airflow_mlsec.datasets.connectors.files._staging import Staging, staging_beside
from airflow_mlsec.datasets.connectors.files._versions import (
    erase_versions,
    object_of,
    old_versions,
)
from airflow_mlsec.datasets.connectors.postgresql import TableUri, table_uri
from airflow_mlsec.datasets.connectors.postgresql._transport import (
    endpoint_of as endpoint_of_postgresql,
)
from airflow_mlsec.naming import (
    DatasetName,
    canonical_key,
    canonical_path,
    canonical_store,
    is_store,
)

__all__ = [
    "SINGLE",
    "Announce",
    "Artifact",
    "Asked",
    "Capabilities",
    "Condition",
    "ConnectionFacts",
    "Connections",
    "Connector",
    "Container",
    "Dataset",
    "DatasetName",
    "Endpoint",
    "EnvironmentConnections",
    "Found",
    "Grant",
    "KeptBy",
    "Local",
    "OldVersion",
    "Part",
    "Reading",
    "StagedTable",
    "Staging",
    "Start",
    "TableUri",
    "Unknown",
    "UriParts",
    "Versions",
    "all_connectors",
    "as_artifact",
    "canonical_key",
    "canonical_path",
    "canonical_store",
    "capabilities_of",
    "connection_of",
    "connector_of",
    "container_of",
    "containers",
    "database_url",
    "dataset_name",
    "endpoint_of_postgresql",
    "erase_versions",
    "file_and_table",
    "file_path",
    "files_below",
    "fulfilled",
    "grants_of_path",
    "host_of",
    "is_false",
    "is_store",
    "is_true",
    "is_unverified",
    "keeps_writers_apart",
    "local_files",
    "local_path",
    "object_of",
    "old_versions",
    "open_artifact",
    "open_dataset",
    "parquet_location",
    "parts_of",
    "place_of",
    "same_place",
    "staging_beside",
    "table_uri",
    "text_of",
    "uri_of",
    "visible_files",
]
