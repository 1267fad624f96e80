"""Lineage: OpenLineage in and out, the column graph, and how personal each column is.

`_events` reads OpenLineage events, `_ingest` writes them to the register, `_transport` is the
OpenLineage transport that Airflow loads, `_evidence` makes and reads our signed statements,
`_state` computes each column's state, `_trace` walks the graph. May import `register`,
`datasets`, `crypto`, `policy` and below. Start with `_ingest`.
"""

from airflow_mlsec.lineage._evidence import (
    ARTIFACT,
    EVIDENCE_FACET,
    RELEASE,
    artifact_statement,
    latest_release,
    latest_releases,
    record_evidence,
    release_statement,
    releases,
)
from airflow_mlsec.lineage._ingest import (
    IngestReport,
    ingest_event,
    ingest_file,
    write_columns,
)
from airflow_mlsec.lineage._release import describe_action, record_release
from airflow_mlsec.lineage._state import State, column_states
from airflow_mlsec.lineage._trace import Trace, TraceNode, reach, trace

__all__ = [
    "ARTIFACT",
    "EVIDENCE_FACET",
    "RELEASE",
    "IngestReport",
    "State",
    "Trace",
    "TraceNode",
    "artifact_statement",
    "column_states",
    "describe_action",
    "ingest_event",
    "ingest_file",
    "latest_release",
    "latest_releases",
    "reach",
    "record_evidence",
    "record_release",
    "release_statement",
    "releases",
    "trace",
    "write_columns",
]
