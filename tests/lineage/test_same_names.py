"""Tables of different schemas that are called the same are two."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.lineage import ingest_event, trace
from airflow_mlsec.register import Register

NAMESPACE = "postgres://db:5432"


def table(name: str, columns: list[str]) -> dict[str, Any]:
    fields = [{"name": c, "type": "text"} for c in columns]
    return {
        "namespace": NAMESPACE,
        "name": f"shop.{name}",
        "facets": {"schema": {"fields": fields}},
    }


def edges(register: Register, keys: KeyRing, sql: str, columns: list[str]) -> set[tuple[str, str]]:
    """(source column, target column) of what the SQL is taken to have done."""
    event = {
        "eventType": "COMPLETE", "eventTime": "2026-03-01T12:00:00Z", "producer": "https://x.test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "00000000-0000-0000-0000-000000000001"},
        "job": {"namespace": "n", "name": "j", "facets": {"sql": {"query": sql, "dialect": "postgres"}}},
        "inputs": [table("raw.users", ["id", "email"]), table("crm.users", ["id", "email"])],
        "outputs": [table("mart.all", columns)],
    }  # fmt: skip
    ingest_event(event, register, keys.verification_keys())
    found = set()
    for column in columns:
        up = trace(register, f"{NAMESPACE}/shop.mart.all#{column}", "up")
        found |= {
            (f"{n.dataset.rpartition('shop.')[2]}.{n.column}", column) for n in up.nodes if n.column
        }
    return found


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "create table mart.all as select a.email as one, b.email as other "
            "from raw.users a join crm.users b on a.id = b.id",
            id="aliases",
        ),
        pytest.param(
            "create table mart.all as select a.email as one, users.email as other "
            "from raw.users a, crm.users",
            id="one alias",
        ),
        pytest.param(
            "create table mart.all as with users as (select email from raw.users) "
            "select users.email as one, c.email as other from users, crm.users c",
            id="a query of that name",
        ),
    ],
)
def test_two_tables_of_one_name_are_not_mixed_up(
    sqlite_register: Register, keys: KeyRing, sql: str
) -> None:
    found = edges(sqlite_register, keys, sql, ["one", "other"])
    direct = {pair for pair in found if pair[0].endswith("email")}
    assert ("raw.users.email", "one") in direct
    assert ("crm.users.email", "other") in direct
    assert ("crm.users.email", "one") not in direct
    assert ("raw.users.email", "other") not in direct


def test_two_slashes_at_the_beginning_of_a_path_are_one() -> None:
    """POSIX allows two to mean something else, so `os.path.normpath` keeps them: one file had two names."""
    from airflow_mlsec.lineage.events._parts import canonical_name

    for name in ("/srv/x.csv", "//srv/x.csv", "///srv//./x.csv", "//srv/y/../x.csv"):
        assert canonical_name("file", name) == "/srv/x.csv"
