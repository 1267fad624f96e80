"""The mean blood pressure by year, rebuilt by Airflow whenever the appointments change.

    appointments ─▶ report

A person cannot be erased from a mean. When a person was erased from the appointments,
`RebuildDownstreamOperator` of the DAG `data_subject_request` notifies Airflow, Airflow runs this
DAG, and the request's ledger says that the report was rebuilt.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset, task

FOLDER = Path(os.environ.get("MLSEC_DEMO_FOLDER", "/srv/mlsec-demo"))
APPOINTMENTS = f"sqlite://{FOLDER}/clinic.db/appointments"
REPORT = f"file://{FOLDER}/reports/pressure.parquet"
FEWEST = 5

with DAG(
    dag_id="report_blood_pressure",
    schedule=[Asset(APPOINTMENTS)],
    catchup=False,
    is_paused_upon_creation=False,
    tags=["privacy"],
    doc_md=__doc__,
) as dag:

    @task(inlets=[Asset(APPOINTMENTS)], outlets=[Asset(REPORT)])
    def report() -> int:
        """One row per year with at least five people."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from airflow_mlsec.datasets import open_dataset

        table = pa.Table.from_batches(open_dataset(APPOINTMENTS).scan(["enrolled_on", "pressure"]))
        years = table.append_column("year", pc.year(table.column("enrolled_on")))
        means = years.group_by("year").aggregate([("pressure", "mean"), ("pressure", "count")])
        kept = means.filter(pc.greater_equal(means.column("pressure_count"), FEWEST))
        with open_dataset(REPORT).replacing(kept.schema) as staged:
            for batch in kept.to_batches():
                staged.write(batch)
        return kept.num_rows

    report()
