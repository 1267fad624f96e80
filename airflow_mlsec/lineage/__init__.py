"""Lineage: OpenLineage in and out, the column graph, and how personal each column is.

`_read_event`, `_read_dataset`, `_parts` and `_facets` read OpenLineage events into `_events`,
`_sql` infers columns from a query. `_write` writes events to the register (`_batch` the names,
`_write_runs` runs and edges, `_write_aliases` further names and `_write_parts` folders, `_write_beside` the rest), `_ingest`
does so in batches and `_quarantine` keeps what cannot be; `transport` is what Airflow loads. `_evidence` and `_release` make our signed statements.
`_graph` walks the graph, `_state` computes each column's state, `_history` knows what was known
when, `_trace` and `_ask` answer questions, `_dark` names the runs that sent nothing, `_export`
writes OpenLineage again. May import `register`, `datasets`, `crypto`, `policy` and below.
Start with `_ingest`.
"""

from airflow_mlsec.lineage._airflow_api import AirflowApi
from airflow_mlsec.lineage._artifact import begin_artifact
from airflow_mlsec.lineage._ask import Change, Holder, changes_since, columns_reaching, holders
from airflow_mlsec.lineage._dark import DarkList, TaskRun, dark_list
from airflow_mlsec.lineage._evidence import (
    ARTIFACT,
    EVIDENCE_FACET,
    RELEASE,
    PublishedRelease,
    artifact_statement,
    latest_release,
    latest_releases,
    published_releases,
    record_evidence,
    release_statement,
    releases,
    unbelieved,
    verify_evidence,
)
from airflow_mlsec.lineage._export import export_events
from airflow_mlsec.lineage._graph import all_edges, edges_within, reach, walk
from airflow_mlsec.lineage._history import gone_since
from airflow_mlsec.lineage._ingest import (
    Ingest,
    IngestReport,
    events_of,
    ingest_event,
    lines_of,
)
from airflow_mlsec.lineage._intents import (
    OpenIntent,
    confirm_intent,
    intended,
    never_published,
    settle_intents,
    withdraw_intent,
)
from airflow_mlsec.lineage._quarantine import HeldEvent, Quarantine
from airflow_mlsec.lineage._release import (
    Intent,
    begin_release,
    describe_action,
    end_release,
    record_release,
    release_step,
)
from airflow_mlsec.lineage._removal import policy_of, record_removal
from airflow_mlsec.lineage._state import (
    State,
    column_states,
    columns_of,
    declared_by_pattern,
    unexplained,
)
from airflow_mlsec.lineage._trace import Trace, TraceNode, find_start, trace, transformations
from airflow_mlsec.lineage._write_aliases import relate_dataset
from airflow_mlsec.lineage._write_parts import PART, PERHAPS

__all__ = [
    "ARTIFACT",
    "EVIDENCE_FACET",
    "PART",
    "PERHAPS",
    "RELEASE",
    "AirflowApi",
    "Change",
    "DarkList",
    "HeldEvent",
    "Holder",
    "Ingest",
    "IngestReport",
    "Intent",
    "OpenIntent",
    "PublishedRelease",
    "Quarantine",
    "State",
    "TaskRun",
    "Trace",
    "TraceNode",
    "all_edges",
    "artifact_statement",
    "begin_artifact",
    "begin_release",
    "changes_since",
    "column_states",
    "columns_of",
    "columns_reaching",
    "confirm_intent",
    "dark_list",
    "declared_by_pattern",
    "describe_action",
    "edges_within",
    "end_release",
    "events_of",
    "export_events",
    "find_start",
    "gone_since",
    "holders",
    "ingest_event",
    "intended",
    "latest_release",
    "latest_releases",
    "lines_of",
    "never_published",
    "policy_of",
    "published_releases",
    "reach",
    "record_evidence",
    "record_release",
    "record_removal",
    "relate_dataset",
    "release_statement",
    "release_step",
    "releases",
    "settle_intents",
    "trace",
    "transformations",
    "unbelieved",
    "unexplained",
    "verify_evidence",
    "walk",
    "withdraw_intent",
]
