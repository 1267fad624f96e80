"""What is believed, and what is unknown, where a client says little or says it wrong."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.lineage import State, column_states, ingest_event, trace
from airflow_mlsec.register import Register, find_dataset, graph
from tests.lineage.events import dataset, event, lineage
from tests.lineage.snapshot import snapshot

NOBODY = VerificationKeys({})
DUCKDB = "duckdb:///shop.duckdb"
MODEL = (
    'with c as (select * from "shop"."main"."customers"), o as (select * from "shop"."main"."orders") '
    "select c.email as contact, sum(o.amount) as spent from c join o on o.customer_id = c.id group by 1"
)


def state_of(register: Register, name: str) -> State:
    def look(connection: Any) -> State:
        [found] = find_dataset(connection, name)
        node = graph.node(found.id, graph.OUT_OF)
        return column_states(connection, [node]).get(node, State.NONE)

    return register.read(look)


def with_sql(made: dict[str, Any], query: str, dialect: str | None = None) -> dict[str, Any]:
    made["job"]["facets"] = {"sql": {"query": query, "dialect": dialect}}
    return made


def dbt_event(output: dict[str, Any], query: str) -> dict[str, Any]:
    """As dbt-core 1.10 with DuckDB sends a model: no inputs, and aliases in the column facet."""
    named = {"namespace": DUCKDB, "name": "c", "field": "email"}
    facet = {"fields": {"contact": {"inputFields": [named]}}}
    output["facets"]["columnLineage"] = facet
    return with_sql(event("shop.main.shop.contacts.build.run", [], [output]), query, "duckdb")


def test_a_dbt_model_comes_from_what_its_sql_reads(sqlite_register: Register) -> None:
    out = dataset("shop.main.contacts", namespace=DUCKDB)
    ingest_event(dbt_event(out, MODEL), sqlite_register, NOBODY)
    nodes = trace(sqlite_register, "shop.main.contacts#contact", "up").nodes
    assert {(n.dataset, n.column) for n in nodes if n.via == "IDENTITY (inferred from SQL)"} == {
        (f"{DUCKDB}/shop.main.customers", "email")
    }
    names = {row[1] for row in snapshot(sqlite_register)["datasets"]}
    assert names == {"shop.main.contacts", "shop.main.customers", "shop.main.orders"}


def test_of_sql_that_cannot_be_parsed_all_tables_are_assumed(sqlite_register: Register) -> None:
    out = dataset("shop.main.contacts", ["contact"], namespace=DUCKDB)
    broken = MODEL.replace("group by 1", "group by ((")
    ingest_event(dbt_event(out, broken), sqlite_register, NOBODY)
    kept = snapshot(sqlite_register)
    assert {(s[1], t[1], step[0]) for s, t, step in kept["edges"]} == {
        ("shop.main.customers", "shop.main.contacts", "assumed"),
        ("shop.main.orders", "shop.main.contacts", "assumed"),
    }
    assert {row[1] for row in kept["datasets"]} == {
        "shop.main.contacts", "shop.main.customers", "shop.main.orders",
    }  # fmt: skip


def test_what_came_from_nowhere_is_unknown(sqlite_register: Register) -> None:
    out = dataset("shop.main.mart", ["x"], namespace=DUCKDB)
    ingest_event(with_sql(event("j", [], [out]), "CALL fill()"), sqlite_register, NOBODY)
    ingest_event(
        event("next", [dataset("/mart-copy"), out], [dataset("/b")]), sqlite_register, NOBODY
    )
    assert state_of(sqlite_register, "shop.main.mart") is State.UNKNOWN
    assert state_of(sqlite_register, "/b") is State.UNKNOWN
    assert state_of(sqlite_register, "/mart-copy") is State.NONE


def test_values_that_a_query_writes_itself_come_from_no_table(sqlite_register: Register) -> None:
    out = dataset("shop.main.mart", ["x"], namespace=DUCKDB)
    ingest_event(
        with_sql(event("j", [], [out]), "INSERT INTO mart VALUES (1)"), sqlite_register, NOBODY
    )
    assert state_of(sqlite_register, "shop.main.mart") is State.NONE


@pytest.mark.parametrize(
    ("facet", "expected"),
    [
        pytest.param({"a": ["x"], "b": ["y"]}, {"x>a", "y>b"}, id="all is said"),
        pytest.param({"a": ["x"]}, {"x>a", "*>b"}, id="a column is left out"),
        pytest.param({"a": ["x"], "b": ["y"], "c": ["x"]}, {"*>"}, id="a column that is not there"),
        pytest.param({"a": ["x"], "b": ["nope"]}, {"*>"}, id="from a column that is not there"),
    ],
)
def test_column_lineage_is_held_to_the_schemas(
    sqlite_register: Register, facet: dict[str, list[str]], expected: set[str]
) -> None:
    out = dataset("/out", ["a", "b"], columnLineage=lineage("/in", facet))
    ingest_event(event("j", [dataset("/in", ["x", "y"])], [out]), sqlite_register, NOBODY)
    kept = snapshot(sqlite_register)
    plain = {"<into>": "", "<out of>": "*"}
    assert {
        f"{plain.get(s[2], s[2])}>{plain.get(t[2], t[2])}" for s, t, _ in kept["edges"]
    } == expected
    assert {row[2] for row in kept["columns"] if row[1] == "/out"} == {"a", "b"}


SETTINGS = [
    ("postgres", "SET search_path TO crm, public"), ("postgres", "SET search_path = crm"),
    ("postgres", "set local search_path to crm"), ("postgres", "SET SCHEMA 'crm'"),
    ("postgres", "set session schema crm"), ("snowflake", "USE SCHEMA crm"), ("duckdb", "USE crm"),
    ("snowflake", "ALTER SESSION SET search_path = 'crm'"), ("mysql", "USE crm"),
]  # fmt: skip


CREATED, INSERTED = (
    "CREATE TABLE mart AS SELECT email FROM users",
    "INSERT INTO mart SELECT email FROM users",
)
# Each in one of two ways to write a table.
WAYS = [(*said, (CREATED, INSERTED)[number % 2]) for number, said in enumerate(SETTINGS)]


@pytest.mark.parametrize(("dialect", "setting", "write"), WAYS)
def test_a_name_means_another_table_once_a_script_has_said_where_to_look(
    sqlite_register: Register, dialect: str, setting: str, write: str
) -> None:
    where = "postgres://db:5432"
    for schema in ("crm", "public"):
        known = dataset(f"shop.{schema}.users", ["email"], namespace=where)
        ingest_event(event(f"fill {schema}", [], [known]), sqlite_register, NOBODY)
    query = f"{setting}; {write}"
    # As a client says it that has not looked at the setting.
    users, mart = (
        dataset(f"shop.public.{name}", ["email"], namespace=where) for name in ("users", "mart")
    )
    ingest_event(
        with_sql(event("make mart", [users], [mart]), query, dialect), sqlite_register, NOBODY
    )
    made = {(s[1].lower(), t[1].lower()) for s, t, _ in snapshot(sqlite_register)["edges"]}
    assert ("shop.crm.users", "shop.public.mart") in made
    if "CREATE" in write or "public" not in setting:
        assert ("shop.crm.users", "shop.crm.mart") in made


def test_other_settings_move_no_names(sqlite_register: Register) -> None:
    out = dataset("shop.main.contacts", ["contact"], namespace=DUCKDB)
    query = "SET statement_timeout = 100; create table contacts as select email as contact from customers"
    ingest_event(with_sql(event("j", [], [out]), query, "postgres"), sqlite_register, NOBODY)
    kept = snapshot(sqlite_register)
    assert {step[2] for _, _, step in kept["edges"]} == {"IDENTITY"}


READING = [
    ("mysql", "set @m = (select max(email) from customers); insert into mart select @m, note from orders"),
    ("snowflake", "set m = (select max(email) from customers); insert into mart select $m, note from orders"),
    ("mysql", "insert into mart select @m, note from orders"),
    ("postgres", "insert into mart select f(), note from orders"),
    ("postgres", "insert into mart select query_to_xml('select * from customers', true, false, ''), note from orders"),
    ("duckdb", "insert into mart select q.email, note from orders, query('select email from customers') q"),
    ("tsql", "insert into mart (contact) select note from orders; delete from customers output deleted.email into mart(contact)"),
    ("postgres", "create table mart partition of parent for values in (1); insert into parent select email from customers"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "query"), READING)
def test_what_is_read_without_being_named(
    sqlite_register: Register, dialect: str, query: str
) -> None:
    where = "postgres://db:5432"
    customers = dataset("shop.public.customers", ["email"], namespace=where)
    orders = dataset("shop.public.orders", ["note"], namespace=where)
    ingest_event(event("fill", [], [customers, orders]), sqlite_register, NOBODY)
    mart = dataset("shop.public.mart", ["contact", "extra"], namespace=where)
    told = with_sql(event("make mart", [customers, orders], [mart]), query, dialect)
    ingest_event(told, sqlite_register, NOBODY)
    reached, todo = set(), ["shop.public.customers"]
    made = {(s[1].lower(), t[1].lower()) for s, t, _ in snapshot(sqlite_register)["edges"]}
    while todo:
        here = todo.pop()
        for source, target in made:
            if source == here and target not in reached:
                reached.add(target)
                todo.append(target)
    assert "shop.public.mart" in reached


@pytest.mark.parametrize(
    "called",
    [
        "upper(note)",
        "regexp_replace(note, 'a', 'b')",
        "date_trunc('day', note)",
        "jsonb_build_object('a', note)",
    ],
)
def test_functions_of_their_arguments_read_nothing_else(
    sqlite_register: Register, called: str
) -> None:
    where = "postgres://db:5432"
    customers, orders = (
        dataset(f"shop.public.{name}", [column], namespace=where)
        for name, column in (("customers", "email"), ("orders", "note"))
    )
    mart = dataset("shop.public.mart", ["contact"], namespace=where)
    query = f"insert into mart select {called} from orders"
    ingest_event(
        with_sql(event("j", [customers, orders], [mart]), query, "postgres"),
        sqlite_register,
        NOBODY,
    )
    sources = {s[1] for s, t, _ in snapshot(sqlite_register)["edges"] if t[1] == "shop.public.mart"}
    assert sources == {"shop.public.orders"}


VARIABLES = [
    ("mysql", "set @x=(select max(note) from orders); set @y=(select max(email) from customers); set @x=@y; insert into mart (contact) select @x from orders", True),
    ("mysql", "set @x=(select max(note) from orders); select @x := email from customers; insert into mart (contact) select @x from orders", True),
    ("mysql", "set @x = 5; insert into mart (contact) select note from orders where note = @x", False),
    ("bigquery", "insert into mart (contact) select note from orders where note = @id", False),
    ("tsql", "insert into mart (contact) select note from orders where note = @id", False),
    ("mysql", "set sql_mode='STRICT_TRANS_TABLES'; insert into mart (contact) select note from orders", False),
    ("postgres", "set role etl; insert into mart (contact) select note from orders", False),
    ("postgres", "insert into mart (contact) select format_note(note) from orders", True),
    ("postgres", "insert into mart (contact) select ts_stat('select email from customers')", True),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "query", "reads"), VARIABLES)
def test_a_variable_is_what_it_was_set_to_last(
    sqlite_register: Register, dialect: str, query: str, reads: bool
) -> None:
    where = "postgres://db:5432"
    customers = dataset("shop.public.customers", ["email"], namespace=where)
    orders = dataset("shop.public.orders", ["note"], namespace=where)
    mart = dataset("shop.public.mart", ["contact"], namespace=where)
    told = with_sql(event("make mart", [customers, orders], [mart]), query, dialect)
    ingest_event(told, sqlite_register, NOBODY)
    into = {s[1] for s, t, _ in snapshot(sqlite_register)["edges"] if t[1] == "shop.public.mart"}
    assert ("shop.public.customers" in into) is reads
    assert "shop.public.mart" not in into
