"""Lineage: OpenLineage in and out, the column graph, and how personal each column is.

`_undelivered` keeps events while the register is unreachable. `events` reads OpenLineage events, `sql` infers columns from a query, `writing` writes events to the register's graph;
`_ingest` does all three, in batches. `evidence` keeps our signed statements; `_release` and `_artifact` make them.
`tracing` walks the graph and computes each column's state; `_export` writes it back as OpenLineage, `_airflow_api`
queries Airflow, `transport` is what Airflow loads, and `_running_task` describes the task that this process runs.
May import `register`, `datasets`, `crypto`, `policy` and below. Start with `_ingest`.
"""

from airflow_mlsec.lineage._airflow_api import AirflowApi
from airflow_mlsec.lineage._artifact import begin_artifact
from airflow_mlsec.lineage._binding import (
    APPROVED,
    BOUND,
    PolicyApproved,
    PolicyBound,
    approvals,
    bind,
    is_approved,
    kept_policy,
    looser_than_before,
    needs_approval,
    policy_before,
    require_binding,
    unit_of,
)
from airflow_mlsec.lineage._export import export_events
from airflow_mlsec.lineage._ingest import (
    Ingest,
    IngestReport,
    Received,
    events_of,
    ingest_event,
    lines_of,
)
from airflow_mlsec.lineage._release import (
    Intent,
    begin_release,
    describe_action,
    end_release,
    record_release,
    release_step,
)
from airflow_mlsec.lineage._running_task import RunningTask
from airflow_mlsec.lineage._undelivered import deliver, deliver_to
from airflow_mlsec.lineage.events._limits import Limits
from airflow_mlsec.lineage.evidence._evidence import (
    ARTIFACT,
    EVIDENCE_FACET,
    RELEASE,
    PublishedRelease,
    announced_only,
    artifact_statements,
    latest_release,
    latest_releases,
    moved,
    published_releases,
    record_evidence,
    release_statement,
    releases,
    releases_not_signed,
    unbelieved,
    verify_evidence,
)
from airflow_mlsec.lineage.evidence._intents import (
    OpenIntent,
    confirm_intent,
    intended,
    intent_of,
    never_published,
    settle_intents,
    withdraw_intent,
)
from airflow_mlsec.lineage.evidence._removal import policy_of, record_removal
from airflow_mlsec.lineage.evidence._versions import (
    ArtifactVersion,
    artifact_versions,
    newest_published,
    next_version,
)
from airflow_mlsec.lineage.tracing._ask import (
    Change,
    Holder,
    changes_since,
    columns_reaching,
    holders,
)
from airflow_mlsec.lineage.tracing._datasets import DatasetFacts, datasets_of_dag_run, read_datasets
from airflow_mlsec.lineage.tracing._graph import all_edges, edges_within, reach, walk
from airflow_mlsec.lineage.tracing._history import gone_since
from airflow_mlsec.lineage.tracing._missing_lineage import DarkList, TaskRun, dark_list
from airflow_mlsec.lineage.tracing._state import (
    State,
    column_states,
    columns_of,
    declared_by_pattern,
    overwritten,
    unexplained,
)
from airflow_mlsec.lineage.tracing._trace import (
    Trace,
    TraceNode,
    find_start,
    trace,
    transformations,
)
from airflow_mlsec.lineage.writing._forget import Forgotten, forget_client
from airflow_mlsec.lineage.writing._quarantine import HeldEvent, Quarantine
from airflow_mlsec.lineage.writing._write_aliases import relate_dataset
from airflow_mlsec.lineage.writing._write_parts import PART, PERHAPS

__all__ = [
    "APPROVED",
    "ARTIFACT",
    "BOUND",
    "EVIDENCE_FACET",
    "PART",
    "PERHAPS",
    "RELEASE",
    "AirflowApi",
    "ArtifactVersion",
    "Change",
    "DarkList",
    "DatasetFacts",
    "Forgotten",
    "HeldEvent",
    "Holder",
    "Ingest",
    "IngestReport",
    "Intent",
    "Limits",
    "OpenIntent",
    "PolicyApproved",
    "PolicyBound",
    "PublishedRelease",
    "Quarantine",
    "Received",
    "RunningTask",
    "State",
    "TaskRun",
    "Trace",
    "TraceNode",
    "all_edges",
    "announced_only",
    "approvals",
    "artifact_statements",
    "artifact_versions",
    "begin_artifact",
    "begin_release",
    "bind",
    "changes_since",
    "column_states",
    "columns_of",
    "columns_reaching",
    "confirm_intent",
    "dark_list",
    "datasets_of_dag_run",
    "declared_by_pattern",
    "deliver",
    "deliver_to",
    "describe_action",
    "edges_within",
    "end_release",
    "events_of",
    "export_events",
    "find_start",
    "forget_client",
    "gone_since",
    "holders",
    "ingest_event",
    "intended",
    "intent_of",
    "is_approved",
    "kept_policy",
    "latest_release",
    "latest_releases",
    "lines_of",
    "looser_than_before",
    "moved",
    "needs_approval",
    "never_published",
    "newest_published",
    "next_version",
    "overwritten",
    "policy_before",
    "policy_of",
    "published_releases",
    "reach",
    "read_datasets",
    "record_evidence",
    "record_release",
    "record_removal",
    "relate_dataset",
    "release_statement",
    "release_step",
    "releases",
    "releases_not_signed",
    "require_binding",
    "settle_intents",
    "trace",
    "transformations",
    "unbelieved",
    "unexplained",
    "unit_of",
    "verify_evidence",
    "walk",
    "withdraw_intent",
]
