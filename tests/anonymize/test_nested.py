"""Structs and lists, by path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, anonymize, pseudonymize, verify_release
from airflow_mlsec.anonymize._nested import flattened, nested, taken_apart
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ColumnType, UndeclaredColumn
from airflow_mlsec.policy import Policy
from tests import canaries

COLUMNS = """
who: {role: identifying, transform: {method: pseudonymize, domain: p}}
address.city: {role: quasi-identifying, hierarchy: {kind: prefix}}
address.street: {role: identifying, transform: {method: drop}}
address.geo.lat: {role: quasi-identifying, hierarchy: {kind: interval, widths: [1, 10, 100]}}
"orders[].card": {role: identifying, transform: {method: mask, keep_last: 4}}
"orders[].items[].sku": {role: insensitive}
"orders[].on": {role: sensitive, transform: {method: shift_date, days: 20}}
"mails[]": {role: identifying, transform: {method: pseudonymize, domain: p}}
plain: {role: insensitive}
"""


def people(rows: int = 60) -> pa.Table:
    return pa.table(
        {
            "who": [f"p{i}@example.com" for i in range(rows)],
            "address": [
                None if i == 7 else {"city": f"city{i % 3}", "street": canaries.NAME, "geo": {"lat": 50.0 + i % 5}}
                for i in range(rows)
            ],
            "orders": pa.array(
                [
                    None if i % 10 == 9 else [
                        {"card": f"41111111{i:04d}{n:04d}", "items": [{"sku": f"s{n}"}] * n, "on": date(2024, 1, 1 + n)}
                        for n in range(i % 4)
                    ]
                    for i in range(rows)
                ],
                pa.list_(pa.struct([("card", pa.string()), ("items", pa.list_(pa.struct([("sku", pa.string())]))), ("on", pa.date32())])),
            ),
            "mails": [[f"p{i}@example.com", None] if i % 2 else [] for i in range(rows)],
            "plain": list(range(rows)),
        }
    )  # fmt: skip


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        COLUMNS,
        subject={"kind": "person", "key": "who"},
        privacy={"k_anonymity": 3, "suppression_limit": 0.2},
    )


def test_a_nested_table_is_released_nested(
    policy: Policy,
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", people()))
    done = anonymize(policy, source, open_dataset(str(tmp_path / "safe.parquet")), keys)
    assert all(finding.passed for finding in done.findings)
    assert sum("holds no raw value" in finding.check for finding in done.findings) == 3
    out = read(tmp_path / "safe.parquet")
    assert out.schema.names == ["who", "address", "orders", "mails", "plain"]
    assert [field.name for field in out.schema.field("address").type] == ["city", "geo"]
    before = {row["plain"]: row for row in people().to_pylist()}
    shifts: dict[int, set[Any]] = {}
    for row in out.to_pylist():
        raw = before[row["plain"]]
        assert (row["orders"] is None) == (raw["orders"] is None)
        for order, old in zip(row["orders"] or [], raw["orders"] or [], strict=True):
            assert order["card"] == "*" * 12 + old["card"][-4:]
            assert order["items"] == old["items"]
            shifts.setdefault(row["plain"], set()).add(order["on"] - old["on"])
        known = pseudonymize(
            pa.array(raw["mails"], pa.string()), "x", keys.ensure("pseudonym.p").secret
        )
        assert row["mails"] == known.to_pylist()
        if row["mails"]:
            assert row["mails"][0] == row["who"]
    assert all(len(found) == 1 for found in shifts.values())
    classes = Counter(str(row["address"]) for row in out.to_pylist())
    assert min(classes.values()) >= 3
    assert canaries.found_in(str(out.to_pylist())) == []
    # The same plan, from what was saved, on what a caller holds.
    again = Plan.from_json(done.plan.to_json()).apply(people(), keys)
    assert again.to_pylist() == out.to_pylist()


def test_the_checker_looks_into_lists(policy: Policy, keys: KeyRing, tmp_path: Path) -> None:
    table = people(9).select(["mails"])
    findings = verify_release(policy, table.schema, table.to_batches())
    [finding] = [f for f in findings if "'mails[]'" in f.check]
    assert not finding.passed
    assert "4 values" in finding.detail


def test_what_is_not_declared_within_is_refused(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str]
) -> None:
    source = open_dataset(write(tmp_path / "p.parquet", people().select(["address", "mails"])))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    some = make_policy(
        "address.city: {role: insensitive}\nmails: {role: identifying, transform: {method: drop}}"
    )
    with pytest.raises(UndeclaredColumn, match=r"address\.geo"):
        anonymize(some, source, target, keys)
    whole = make_policy("address: {role: insensitive}\n'mails[]': {role: insensitive}")
    with pytest.raises(ColumnType, match="column 'address'"):
        anonymize(whole, source, target, keys)
    in_list = make_policy(
        "address: {role: identifying, transform: {method: drop}}\n"
        "'mails[]': {role: quasi-identifying, hierarchy: {kind: suppress}}",
        privacy={"k_anonymity": 2},
    )
    with pytest.raises(ColumnType, match="list"):
        anonymize(in_list, source, target, keys)
    assert not target.exists()


LEAF = st.none() | st.integers(0, 9)
SHAPES = [
    (pa.list_(pa.int64()), ["x[]"]),
    (pa.list_(pa.list_(pa.int64())), ["x[][]"]),
    (pa.struct([("a", pa.int64()), ("b", pa.list_(pa.int64()))]), ["x.a", "x.b[]"]),
    (pa.list_(pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.int64())])))])), ["x[].a", "x[].b[].c"]),
]  # fmt: skip


def values_of(draw: st.DrawFn, kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        if draw(st.integers(0, 4)) == 0:
            return None
        return [values_of(draw, kind.value_type) for _ in range(draw(st.integers(0, 3)))]
    if pa.types.is_struct(kind):
        return {field.name: values_of(draw, field.type) for field in kind}
    return draw(LEAF)


def without_empty(value: Any) -> Any:
    """A struct without anything in it comes out as missing."""
    if isinstance(value, list):
        return [without_empty(v) for v in value]
    if isinstance(value, dict):
        made = {k: without_empty(v) for k, v in value.items()}
        return None if all(v is None for v in made.values()) else made
    return value


@given(data=st.data(), shape=st.sampled_from(SHAPES))
def test_taking_apart_and_putting_together(
    data: st.DataObject, shape: tuple[Any, list[str]]
) -> None:
    kind, paths = shape
    rows = [
        data.draw(st.composite(lambda draw: values_of(draw, kind))())
        for _ in range(data.draw(st.integers(0, 5)))
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(rows, kind), pa.array(range(len(rows)), pa.int64())], names=["x", "y.z"]
    )
    flat = flattened(batch, paths)
    assert flat.schema.names == [*paths, "y.z"]
    back = nested(flat, taken_apart(batch.schema, paths))
    assert back.schema.names == ["x", "y.z"]
    assert back.column("x").to_pylist() == [without_empty(row) for row in rows]
