"""A real dbt project through dbt's own OpenLineage client; what its lineage says is held to what its data does.

dbt wants other versions of packages than Airflow, so that it has an environment of its own, which `make
test-slow` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import duckdb
import pytest

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage import ingest_event, trace
from airflow_mlsec.register import Register

BINARIES = Path(__file__).parents[2] / ".venv-dbt" / "bin"
PROJECT = """name: shop
version: "1.0.0"
profile: shop
models:
  shop:
    +materialized: table
"""
PROFILE = """shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: "shop.duckdb", threads: 1}
"""
# As dbt's own guide writes models: what is read in CTEs, a rename, a join, an aggregate.
MODELS = {
    "stg_customers": "with source as (select * from {{ ref('customers') }}), renamed as (select id as customer_id, "
    "email as contact, name from source) select * from renamed",
    "stg_orders": "with source as (select * from {{ ref('orders') }}) select * from source",
    "spending": "with c as (select * from {{ ref('stg_customers') }}), o as (select * from {{ ref('stg_orders') }}), "
    "final as (select c.contact, sum(o.amount) as spent from c join o on o.customer_id = c.customer_id group by 1) "
    "select * from final",
}
SEEDS = {
    "customers": "id,email,name\n1,a@x.test,Anna\n2,b@x.test,Bob\n",
    "orders": "number,customer_id,amount\n10,1,5\n11,1,7\n12,2,9\n",
}
# One cell of each source column becomes another: a key that joins nothing any more, another value.
CHANGED = {
    "customers#email": ("customers", "a@x.test", "z@x.test"),
    "customers#name": ("customers", "Anna", "Zoe"),
    "customers#id": ("customers", "\n2,", "\n3,"),
    "orders#number": ("orders", "\n10,", "\n99,"),
    "orders#amount": ("orders", "1,5\n", "1,6\n"),
    "orders#customer_id": ("orders", "11,1,", "11,2,"),
}


def dbt(folder: Path, *command: str, client: str = "dbt") -> None:
    environment = {
        **os.environ,
        "DBT_PROFILES_DIR": str(folder),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "OPENLINEAGE__TRANSPORT__TYPE": "file",
        "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(folder / "events.jsonl"),
        "OPENLINEAGE__TRANSPORT__APPEND": "true",
        "OPENLINEAGE_NAMESPACE": "dbt",
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [BINARIES / client, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def build(folder: Path, seeds: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    """Run the project on some seeds; by model and column, the values."""
    for name, text in seeds.items():
        (folder / "seeds" / f"{name}.csv").write_text(text)
    dbt(folder, "build", "--full-refresh")
    return contents(folder)


def contents(folder: Path) -> dict[str, dict[str, list[str]]]:
    with duckdb.connect(str(folder / "shop.duckdb"), read_only=True) as connection:
        found = {}
        for model in MODELS:
            rows = connection.execute(f"SELECT * FROM {model}").to_arrow_table()
            found[model] = {
                n: sorted(map(str, rows.column(n).to_pylist())) for n in rows.column_names
            }
        return found


@pytest.mark.slow
@pytest.mark.skipif(not (BINARIES / "dbt-ol").exists(), reason="dbt: run `make test-slow`")
def test_lineage_of_a_dbt_project_is_what_its_data_shows(
    tmp_path: Path, sqlite_register: Register
) -> None:
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    (tmp_path / "profiles.yml").write_text(PROFILE)
    for folder in ("models", "seeds"):
        (tmp_path / folder).mkdir()
    for name, sql in MODELS.items():
        (tmp_path / "models" / f"{name}.sql").write_text(sql)
    for name, text in SEEDS.items():
        (tmp_path / "seeds" / f"{name}.csv").write_text(text)
    dbt(tmp_path, "seed", client="dbt-ol")
    dbt(tmp_path, "run", client="dbt-ol")
    nobody = VerificationKeys([])
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        ingest_event(json.loads(line), sqlite_register, nobody)
    before, missing, false = contents(tmp_path), [], []
    for source, (seed, old, new) in CHANGED.items():
        assert SEEDS[seed].count(old) == 1, source
        after = build(tmp_path, {**SEEDS, seed: SEEDS[seed].replace(old, new)})
        for model, columns in before.items():
            for column, values in columns.items():
                moved = after[model][column] != values
                told = said(sqlite_register, model, column, source)
                if moved and told is None:
                    missing.append(f"{source} -> {model}#{column}")
                if told == "a value" and not moved:
                    false.append(f"{source} -> {model}#{column}")
    assert not missing, missing
    # What rows are grouped by decides what is summed, and moves no sum as long as no two groups become one.
    assert false == ["customers#email -> spending#spent"]


def said(register: Register, model: str, column: str, source: str) -> str | None:
    """What lineage says of a source column: that it becomes a ``value`` of a model's, that it ``decides`` which rows
    there are, that it is ``assumed`` (of columns that no event names), or nothing."""
    name = next(n for n in names(register) if n.endswith(f".{model}"))
    dataset = source.partition("#")[0]
    try:
        nodes = trace(register, f"{name}#{column}", "up").nodes
    except UsageError:
        nodes = trace(register, name, "up").nodes
    found = [n for n in nodes if n.dataset.rpartition(".")[2].rpartition("/")[2] == dataset]
    exact = [n for n in found if n.column == source.partition("#")[2]]
    if not exact:
        return "assumed" if any(not n.column for n in found) else None
    deciding = [n for n in exact if n.via is not None and ("JOIN" in n.via or "GROUP" in n.via)]
    return "decides" if deciding else "a value"


def names(register: Register) -> list[str]:
    from tests.lineage.snapshot import snapshot

    return [f"{row[0]}/{row[1]}" if "://" in row[0] else row[1] for row in snapshot(register)["datasets"]]  # fmt: skip
