"""A few kilobytes of SQL that ask for hours of work: they end soon, and what is not followed is assumed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_mlsec.lineage._ingest import _read
from airflow_mlsec.lineage.sql import _work
from airflow_mlsec.lineage.sql._relations import Column, Relation
from airflow_mlsec.lineage.sql._tables import KnownTables
from airflow_mlsec.lineage.sql._work import NotFollowed, Work, spend

WIDE = 9_990
T, O = ("postgres://h:5432", "d.public.t"), ("postgres://h:5432", "d.public.o")  # noqa: E741
CTES = "".join(f", a{i} as (select * from a{i - 1})" for i in range(1, 300))
TEMPORARY = ";".join(
    f"create temp table x{i} as select c0+c1 as c0, c0-c1 as c1 from x{i - 1} where c0>c1"
    for i in range(1, 500)
)
ATTACKS = {
    "common table expressions": f"insert into o with a0 as (select * from t){CTES} select * from a299",
    "all into each": f"insert into o select {','.join(f'concat(x.*) as d{i}' for i in range(2000))} from (select * from t) x",
    "joins": "insert into o select * from (select * from t) a0" + "".join(f" join (select * from t) a{i} using (c0)" for i in range(300)),
    "unions": "insert into o " + " union all ".join(["select * from t"] * 2000),
    "statements": ";".join(["insert into o select * from t"] * 3000),
    "sub-queries": f"insert into o select {','.join(['(select max(c0) from (select * from t) q)'] * 1500)} from t",
}  # fmt: skip


def event(query: str, columns: int = WIDE) -> dict[str, Any]:
    fields = [{"name": f"c{i}"} for i in range(columns)]
    source = {"namespace": T[0], "name": T[1], "facets": {"schema": {"fields": fields}}}
    return {
        "eventTime": "2026-03-01T12:00:00Z", "eventType": "COMPLETE", "producer": "p", "schemaURL": "s",
        "run": {"runId": "r"}, "job": {"namespace": "n", "name": "j", "facets": {"sql": {"query": query}}},
        "inputs": [source], "outputs": [{"namespace": O[0], "name": O[1], "facets": {"schema": {"fields": fields}}}],
    }  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_too_much_work_is_assumed(attack: str) -> None:
    """Minutes and gigabytes before; the query's input is assumed to reach all of its output."""
    read = _read(event(ATTACKS[attack]), KnownTables(None))
    whole = [e for e in read.said[O].edges if e.source == T and e.transformation.kind == "assumed"]
    assert len(whole) == 1
    assert not read.said[O].complete


def test_temporary_tables_that_read_each_other_are_seen_through() -> None:
    """Each of 500 reads the one before it twice: 2 to the power of 500 ways, but two columns."""
    query = f"create temp table x0 as select c0, c1 from t; {TEMPORARY}; insert into o select c0, c1 from x499"
    read = _read(event(query, 3), KnownTables(None))
    direct = {(e.field, e.target_field) for e in read.said[O].edges if e.transformation.kind == "direct"}  # fmt: skip
    assert {source for source, _ in direct} == {"c0", "c1"}
    assert read.said[O].complete
    assert {e.transformation.subtype for e in read.said[O].edges if e.transformation.kind == "indirect"} == {"FILTER"}  # fmt: skip


def test_a_wide_table_is_followed_by_name() -> None:
    names = ",".join(f"c{i}" for i in range(WIDE))
    read = _read(event(f"insert into o select {names} from (select * from t) x"), KnownTables(None))
    assert len(read.said[O].edges) == WIDE
    assert read.said[O].complete


def test_the_limit_counts_work_and_not_time() -> None:
    work = Work(10)
    with work.counted():
        spend(10)
        with pytest.raises(NotFollowed, match="more work"):
            spend(1)
    with work.counted(), pytest.raises(NotFollowed):  # and from then on
        Relation([Column("a", {})])
    spend(10 * _work.MOST_WORK)  # nothing is counted elsewhere


SCRIPT = """
create temp table first as select * from t;
create table made as select c0, c1 from first;
select c0 into other from made;
insert into o select c0, c1, c2 from t;
update o set c1 = first.c1 from first where o.c0 = first.c0;
create table part partition of made for values in (1);
merge into merged using first on merged.c0 = first.c0 when matched then update set c1 = first.c1;
delete from o using made where o.c0 = made.c0;
"""


T_SQL = """
select * into #first from t;
insert into o (c0) output inserted.c0 into logged select c0 from #first;
select c0 into other from t;
"""


@pytest.mark.parametrize("dialect", ["postgres", "tsql"])
def test_no_output_is_lost_however_little_is_followed(
    monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    """Whenever the work runs out: every table that is written stays an output, and everything that would reach it still
    does, at least as a whole."""
    given = event(SCRIPT, 3)
    given["outputs"] = []
    if dialect == "tsql":
        given["job"]["facets"]["sql"] = {"query": T_SQL, "dialect": "tsql"}
    everything = _read(json.loads(json.dumps(given)), KnownTables(None))

    def reaching(read: Any) -> set[tuple[Any, Any]]:
        return {(edge.source, name) for name, said in read.said.items() for edge in said.edges}

    assert everything.outputs
    for most in [*range(60), *range(60, 400, 13)]:
        monkeypatch.setattr(_work, "MOST_WORK", most)
        read = _read(json.loads(json.dumps(given)), KnownTables(None))
        assert set(read.outputs) >= set(everything.outputs), most
        sources = reaching(read)
        for source, name in reaching(everything):
            assumed = not read.said[name].complete and source in read.inputs
            assert (source, name) in sources or assumed, (most, source, name)


@pytest.mark.parametrize("text", ["x" + " " * 60_000, "/*" * 40_000, "[" * 80_000, "'" * 90_001, '"' * 90_001, ", a (" * 20_000])  # fmt: skip
def test_text_that_nobody_can_parse_is_searched_in_no_time(text: str) -> None:
    from airflow_mlsec.lineage.sql._follow import _named_in

    begun = time.process_time()
    named, _ = _named_in(f"insert into o select * from customers {text}")
    assert ["customers"] in named
    # Not a measurement: it was minutes, and is milliseconds.
    assert time.process_time() - begun < 10


def test_a_name_that_is_in_no_source_is_looked_for_once() -> None:
    query = (
        "insert into o with d as (select * from t) select " + ",".join(["oid"] * 1_500)
        + " from d a0" + "".join(f", d a{i}" for i in range(1, 100))
    )  # fmt: skip
    assert O in _read(event(query), KnownTables(None)).outputs


def test_many_tables_are_looked_up_at_once(sqlite_register: Any) -> None:
    """A query that names hundreds finds the same tables as one that names a few."""
    from airflow_mlsec.register import dataset_id

    now = sqlite_register.now()
    sqlite_register.write(lambda c: [dataset_id(c, T[0], f"d.sales.s{i}", now) for i in range(100)])
    many = "insert into o select 1 from " + ",".join(f"s{i}" for i in range(100))
    read = _read(event(many, 3), KnownTables(sqlite_register))
    few = _read(event("insert into o select 1 from s0, s1", 3), KnownTables(sqlite_register))
    assert {name for name in read.inputs if name != T} == {(T[0], f"d.sales.s{i}") for i in range(100)}  # fmt: skip
    assert {name for name in few.inputs if name != T} == {(T[0], f"d.sales.s{i}") for i in (0, 1)}
