"""What an operator costs beside a task that does nothing, in a real Airflow.

    python -m benchmarks.operators [ROUNDS]     default: 10

Tasks run one after the other, in turns, on a table of 1,000 rows: what is measured is not the work on data but what
stands around it, starting with imports in the task's process. A task's time is what Airflow reports, from its start
to its end. Beside them, a task that hashes, bands and writes the table with pandas, and checks nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlsec.testing import AirflowServer

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-operators.md"
ROWS = 1_000
POLICY = """\
version: 1
dataset: {at}/people.parquet
owner: team
subject: {{kind: person, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: person}}}}
  age: {{role: quasi-identifying, category: user.demographic.age_range, hierarchy: {{kind: interval, widths: [10]}}}}
  note: {{role: insensitive}}
privacy: {{k_anonymity: 5}}
"""
DAG = """
from airflow.sdk import DAG, task
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.artifacts import VerifyArtifactOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator

AT, ROUNDS = {at!r}, {rounds}

with DAG("overhead", schedule=None, max_active_tasks=1):
    last = None
    for number in range(ROUNDS):

        @task(task_id=f"nothing-{{number}}")
        def nothing():
            pass

        @task(task_id=f"pandas-{{number}}")
        def with_pandas(target):
            import pandas as pd

            table = pd.read_parquet(f"{{AT}}/people.parquet")
            table["email"] = pd.util.hash_pandas_object(table["email"], index=False).astype(str)
            table["age"] = table["age"] // 10 * 10
            table.to_parquet(target)

        steps = [
            nothing(),
            with_pandas(f"{{AT}}/pandas-{{number}}.parquet"),
            ComplianceCheckOperator(task_id=f"check-{{number}}", policy="people", stage="source", controls="columns-declared"),
            AnonymizeOperator(
                task_id=f"anonymize-{{number}}", policy="people", target=f"{{AT}}/safe-{{number}}.parquet"
            ),
            EncryptArtifactOperator(
                task_id=f"encrypt-{{number}}", source=f"{{AT}}/safe-{{number}}.parquet",
                target=f"{{AT}}/safe-{{number}}.age", kind="table",
            ),
            VerifyArtifactOperator(task_id=f"verify-{{number}}", artifact=f"{{AT}}/safe-{{number}}.age"),
        ]
        for step in steps:
            if last is not None:
                last >> step
            last = step
"""


def durations(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind of task."""
    at = folder / "data"
    for made in (at, folder / "dags", folder / "policies"):
        made.mkdir()
    random = np.random.default_rng(1)
    people = {
        "email": [f"p{i}@example.org" for i in range(ROWS)],
        "age": random.integers(20, 70, ROWS),
        "note": random.integers(0, 9, ROWS),
    }
    pq.write_table(pa.table(people), at / "people.parquet")
    (folder / "policies" / "people.yaml").write_text(POLICY.format(at=at))
    (folder / "dags" / "overhead.py").write_text(DAG.format(at=str(at), rounds=rounds))
    settings = {"AIRFLOW__MLSEC__POLICIES_FOLDER": str(folder / "policies")}
    found = defaultdict(list)
    with AirflowServer(folder / "airflow", folder / "dags", settings).running(print) as server:
        run_id = server.trigger("overhead")
        states = server.wait("overhead", run_id, lambda s: False, timeout=7_200)
        if states[""] != "success":
            raise SystemExit(f"the run ended as {states}")
        with server.client() as client:
            path = f"/api/v2/dags/overhead/dagRuns/{run_id}/taskInstances?limit=1000"
            for task in client.get(path).raise_for_status().json()["task_instances"]:
                found[task["task_id"].partition("-")[0]].append(float(task["duration"]))
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 10
    with tempfile.TemporaryDirectory(prefix="mlsec-overhead-") as folder:
        found = durations(Path(folder), rounds)
    nothing = statistics.median(found["nothing"])
    names = {
        "nothing": "`@task` that does nothing",
        "pandas": "`@task` with pandas: hash, band, write",
        "check": "`ComplianceCheckOperator`",
        "anonymize": "`AnonymizeOperator`",
        "encrypt": "`EncryptArtifactOperator`",
        "verify": "`VerifyArtifactOperator`",
    }
    lines = [
        "# Benchmarks: what an operator costs beside a task that does nothing",
        "",
        f"`python -m benchmarks.operators {rounds}`, one run in a real Airflow (SQLite, one task at a time), {rounds} tasks of",
        f"each kind in turns, on {ROWS:,} rows. Times are Airflow's own, from a task's start to its end.",
        "",
        "| task | median | lowest | highest | median beside nothing |",
        "|---|---|---|---|---|",
    ]
    for name, title in names.items():
        seconds = found[name]
        median = statistics.median(seconds)
        lines.append(
            f"| {title} | {median:.2f} s | {min(seconds):.2f} s | {max(seconds):.2f} s | {median - nothing:+.2f} s |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
