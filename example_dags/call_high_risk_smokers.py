"""Downstream of the clinic's tables: heavy smokers with high blood pressure are called.

    raw records ─▶ readings table ─┐
                                   ├─ SQL join ─▶ appointments ─▶ call list (CSV)
    persons table ─────────────────┘

The join is SQL that says nothing about lineage; the extract is a file that only its policy
describes. A person must be found in all of them and erased from them.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset, task
from sqlite_step import SqliteStep

from airflow_mlsec.operators.compliance import ComplianceCheckOperator

FOLDER = Path(os.environ.get("MLSEC_DEMO_FOLDER", "/srv/mlsec-demo"))
DATABASE = f"{FOLDER}/clinic.db"
RAW = f"file://{FOLDER}/raw/nhefs.parquet"
READINGS = f"sqlite://{DATABASE}/readings"
APPOINTMENTS = f"sqlite://{DATABASE}/appointments"
CALL_LIST = f"file://{FOLDER}/raw/call_list.csv"

with DAG(
    dag_id="call_high_risk_smokers", schedule=None, catchup=False, tags=["privacy"], doc_md=__doc__
) as dag:

    @task(inlets=[Asset(RAW)], outlets=[Asset(READINGS)])
    def load_readings() -> int:
        """The measurements of each person, into the clinic's database."""
        import pyarrow as pa

        from airflow_mlsec.datasets import open_dataset

        batches = list(open_dataset(RAW).scan(["email", "enrolled_on", "smokeintensity", "sbp"]))
        return _write(pa.Table.from_batches(batches), READINGS)

    check_readings = ComplianceCheckOperator(
        task_id="check_readings", policy="clinic_readings", dataset=READINGS
    )

    # [START sql]
    make_appointments = SqliteStep(
        task_id="make_appointments",
        database=DATABASE,
        reads=["persons", "readings"],
        writes="appointments",
        sql=(
            "CREATE TABLE appointments (patient TEXT, phone TEXT, enrolled_on DATE, pressure REAL); "
            "INSERT INTO appointments SELECT p.email, p.phone, r.enrolled_on, r.sbp "
            "FROM persons p JOIN readings r ON r.email = p.email "
            "WHERE r.smokeintensity >= 10 AND r.sbp >= 100"
        ),
    )
    # [END sql]

    @task(inlets=[Asset(APPOINTMENTS)], outlets=[Asset(CALL_LIST)])
    def extract_call_list() -> int:
        """A CSV file for the call centre."""
        import pyarrow as pa

        from airflow_mlsec.datasets import open_dataset

        batches = list(open_dataset(APPOINTMENTS).scan(["patient", "phone", "enrolled_on"]))
        return _write(pa.Table.from_batches(batches), CALL_LIST)

    check_call_list = ComplianceCheckOperator(
        task_id="check_call_list", policy="clinic_call_list", dataset=CALL_LIST
    )
    load_readings() >> check_readings >> make_appointments >> extract_call_list() >> check_call_list


def _write(table, uri: str) -> int:
    """Write a table as a whole dataset."""
    from airflow_mlsec.datasets import open_dataset

    with open_dataset(uri).replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)
    return table.num_rows
