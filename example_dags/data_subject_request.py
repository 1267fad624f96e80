"""Answer a data-subject request: find the person, give them the data, and, if they ask for
erasure and a person approves, erase them everywhere, check again, and sign a receipt.

    locate ─┬─▶ export
            └─▶ approve (a person, in Airflow) ─▶ prepare ─▶ erase (one task per place)
                                                                 │
                        rebuild what was made from their data ◀──┘
                              │
                              └─▶ notify ─▶ wait until all is settled ─▶ verify and sign

Open the request first (`mlsec subject open erasure --kind person --key -`), verify the
requester's identity (`mlsec subject identity`), then trigger this DAG with the request's number.
No task carries the person's name: Airflow knows only the number.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param

from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.subjects import (
    APPROVE,
    APPROVE_ALL,
    EraseSubjectOperator,
    ExportSubjectOperator,
    LocateSubjectOperator,
    NotifyRecipientsOperator,
    PrepareErasureOperator,
    RebuildDownstreamOperator,
    VerifyErasureOperator,
)
from airflow_mlsec.sensors.subject_request import SubjectRequestSensor

FOLDER = Path(os.environ.get("MLSEC_DEMO_FOLDER", "/srv/mlsec-demo"))
REQUEST = "{{ params.request }}"

ON_CALL = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")

with DAG(
    dag_id="data_subject_request",
    schedule=None,
    catchup=False,
    tags=["privacy"],
    doc_md=__doc__,
    params={
        "request": Param(1, type="integer", description="Number of the request"),
    },
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "on_failure_callback": ON_CALL,
    },
    # A task that was killed runs no callback of its own.
    on_failure_callback=ON_CALL,
) as dag:
    # [START request]
    verified = SubjectRequestSensor(task_id="verified", request=REQUEST, until="verified")
    locate = LocateSubjectOperator(task_id="locate", request=REQUEST)
    export = ExportSubjectOperator(
        task_id="export",
        request=REQUEST,
        target=f"{FOLDER}/requests/{REQUEST}.zip.age",
    )
    approval = HITLOperator(
        task_id="approve",
        subject=f"Erase the person of request {REQUEST}?",
        body=f"`mlsec subject status {REQUEST}` shows every place and what was found there.",
        options=[APPROVE, APPROVE_ALL, "Reject"],
        response_timeout=timedelta(days=14),
    )
    # Who answered is read from Airflow's own record, not from what the task returned.
    prepare = PrepareErasureOperator(task_id="prepare", request=REQUEST, approval=approval.task_id)
    # In the order of `prepare`, one by one: rows are erased before the rows that they refer to.
    erase = EraseSubjectOperator.partial(
        task_id="erase", request=REQUEST, max_active_tis_per_dagrun=1
    ).expand(place=prepare.output)
    # DAGs that are scheduled on the changed datasets rebuild their outputs.
    rebuild = RebuildDownstreamOperator(task_id="rebuild", request=REQUEST)
    # Over https, or by mail through `smtp_conn_id`; other recipients must be notified by hand.
    notify = NotifyRecipientsOperator(task_id="notify", request=REQUEST)
    # A person retrains what no DAG rebuilds (a model that is trained by hand), or releases it with
    # a reason.
    settled = SubjectRequestSensor(
        task_id="settled",
        request=REQUEST,
        until="settled",
        deferrable=True,
        poke_interval=2,
        timeout=timedelta(days=30).total_seconds(),
    )
    verify = VerifyErasureOperator(
        task_id="verify", request=REQUEST, receipt=f"{FOLDER}/requests/{REQUEST}.receipt.json"
    )
    verified >> locate >> [export, approval]
    approval >> prepare >> erase >> rebuild >> notify >> settled >> verify
    # [END request]
