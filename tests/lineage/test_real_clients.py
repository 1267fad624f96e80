"""Lineage as Airflow's own provider and dbt's own client send it, from jobs that really ran."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.lineage import trace
from airflow_mlsec.register import Register
from tests.lineage.snapshot import snapshot

TABLES = (
    "create table customers (id int, email text, name text)",
    "create table orders (customer_id int, amount int)",
    "create table spending (amount int, contact text)",
    "insert into customers values (1, 'a@x.test', 'A')",
    "insert into orders values (1, 5)",
)
STEPS = {
    "mart": "create table mart as with c as (select * from customers) select c.email as contact, "
    "o.amount from c join orders o on o.customer_id = c.id",
    "spending": "insert into spending select o.amount, c.email from customers c "
    "join orders o on o.customer_id = c.id",
    "script": "create temp table lately as select email, id from customers; "
    "insert into spending select id, email from lately; drop table lately",
}
DAG = """
import json, os
import pendulum
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG

with DAG("sql_jobs", schedule=None, start_date=pendulum.datetime(2026, 1, 1)) as dag:
    before = None
    for name, sql in json.loads(os.environ["STEPS"]).items():
        task = SQLExecuteQueryOperator(task_id=name, conn_id="shop", sql=sql, split_statements=True)
        if before is not None:
            before >> task
        before = task

if __name__ == "__main__":
    state = dag.test().state
    raise SystemExit(state != "success")
"""


def run_dag(folder: Path, connection: dict[str, Any], name: str, sql: str) -> Register:
    """Run one step as a DAG of its own process, as a worker does; the register that it wrote."""
    (folder / "dags").mkdir(exist_ok=True)
    (folder / "dags" / "sql_jobs.py").write_text(DAG)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW_CONN_SHOP": json.dumps(connection),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "airflow_mlsec.lineage.transport.RegisterTransport"}
        ),
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{folder}/register.db",
        "STEPS": json.dumps({name: sql}),
    }
    binary = Path(sys.executable).parent
    if not (folder / "airflow.db").exists():
        subprocess.run([binary / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)  # fmt: skip
    command = [binary / "airflow", "dags", "reserialize"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, str(folder / "dags" / "sql_jobs.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Register(f"sqlite:///{folder}/register.db")


def came_from(register: Register, prefix: str, column: str) -> set[str]:
    nodes = trace(register, f"{prefix}{column}", "up").nodes
    return {
        f"{node.dataset.rpartition('.')[2].rpartition('/')[2]}#{node.column}"
        for node in nodes
        if node.via is not None and "JOIN" not in node.via
    }


def check(register: Register, prefix: str) -> None:
    assert came_from(register, prefix, "mart#contact") == {"customers#email"}
    assert came_from(register, prefix, "mart#amount") == {"orders#amount"}
    assert "customers#email" in came_from(register, prefix, "spending#contact")
    assert "customers#name" not in came_from(register, prefix, "spending#contact")
    kept = snapshot(register)
    names = {row[1].rpartition(".")[2].rpartition("/")[2] for row in kept["datasets"]}
    assert names - {"lately"} == {"customers", "orders", "mart", "spending"}
    kinds = {step[0] for _, _, step in kept["edges"]}
    assert kinds <= {"direct", "indirect"}


def test_sql_operators_on_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        for statement in TABLES:
            connection.execute(statement)
    connection_settings = {"conn_type": "sqlite", "host": str(path)}
    register = run_dag(tmp_path, connection_settings, "all", "; ".join(STEPS.values()))
    check(register, f"{path}/")


@pytest.mark.slow
def test_sql_operators_on_postgresql(tmp_path: Path, postgres_uri: str) -> None:
    import psycopg

    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        for name in ("mart", "spending", "customers", "orders"):
            connection.execute(f"drop table if exists public.{name}")
        for statement in TABLES:
            connection.execute(statement)  # type: ignore[arg-type]
        host, database = connection.info.host, connection.info.dbname
        login = connection.info.user
    reached = {"conn_type": "postgres", "host": host, "login": login, "schema": database}
    for name, sql in STEPS.items():
        register = run_dag(tmp_path, reached, name, sql)
    namespace = next(r[0] for r in snapshot(register)["datasets"] if r[0].startswith("postgres"))
    check(register, f"{namespace}/{database}.public.")
