"""A plan, read back from its JSON, releases the classes that were counted, on any table."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_mlsec.anonymize import Plan, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import Policy

KINDS = ["full-domain", "local", "multidimensional"]
COLUMNS = """
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [2, 8, 32]}}
born: {role: quasi-identifying, hierarchy: {kind: date}}
place: {role: quasi-identifying, hierarchy: {kind: prefix}}
group: {role: quasi-identifying, hierarchy: {kind: suppress}}
weight: {role: quasi-identifying, hierarchy: {kind: interval, widths: [0.5, 4]}}
illness: {role: sensitive}
"""
# Rows share groups, so that few of them are alike and some cannot be released.
GROUPS = ["common", "common", "common", "canary-rare"]
rows = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 40),
        st.none() | st.integers(0, 900).map(lambda n: date(1969, 1, 1) + timedelta(n)),
        st.none() | st.text("ab\u00df\U0001f600,{[*\"' ", max_size=3),
        st.sampled_from(GROUPS),
        st.none() | st.sampled_from([-0.0, 0.0, 0.25, 1.0, 3.5, float("inf"), float("nan")]),
        st.sampled_from(["flu", "cold", None]),
    ),
    min_size=1,
    max_size=60,
)
NAMES = ("age", "born", "place", "group", "weight", "illness")
TYPES = (pa.int64(), pa.date32(), pa.string(), pa.string(), pa.float64(), pa.string())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=rows, k=st.integers(2, 4), twice=st.integers(1, 3))
def test_a_plan_releases_what_was_counted(
    kind: str,
    made: list[tuple[Any, ...]],
    k: int,
    twice: int,
    make_policy: Callable[..., Policy],
    keys: KeyRing,
) -> None:
    listed = made * twice
    table = pa.table(
        {
            name: pa.array([row[place] for row in listed], type_)
            for place, (name, type_) in enumerate(zip(NAMES, TYPES, strict=True))
        }
    )
    privacy = {"k_anonymity": k, "recoding": kind, "suppression_limit": 0.6}
    policy = make_policy(COLUMNS, privacy=privacy)
    try:
        plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    except GuaranteeNotMet:
        return
    written = json.dumps(plan.to_json())
    again = Plan.from_json(json.loads(written))
    out = again.apply(table, keys)
    assert str(out.to_pylist()) == str(plan.apply(table, keys).to_pylist())
    # Not a number is one value too; two of them are not equal.
    found = Counter(
        tuple("NaN" if row[name] != row[name] else row[name] for name in NAMES[:-1])
        for row in out.to_pylist()
    )
    assert out.num_rows == len(listed) - plan.achieved["suppressed"]
    if any(row[4] == float("inf") or row[4] != row[4] for row in made):
        # No interval has them: their label is missing, as that of missing values is.
        assert len(found) <= plan.achieved["classes"]
        assert not found or min(found.values()) >= plan.achieved["k_anonymity"] >= k
    else:
        assert len(found) == plan.achieved["classes"]
        assert not found or min(found.values()) == plan.achieved["k_anonymity"] >= k
    shown = str(out.column("group").to_pylist())
    if "canary-rare" not in shown and "*" not in shown:
        assert "canary-rare" not in written
    # Row by row and in any order it is the same.
    backwards = again.apply(table.take(list(range(len(listed)))[::-1]), keys)
    assert str(backwards.to_pylist()[::-1]) == str(out.to_pylist())
    some = table.slice(0, 9)
    one_by_one = [again.apply(some.slice(i, 1), keys).to_pylist() for i in range(some.num_rows)]
    assert str([*itertools.chain(*one_by_one)]) == str(again.apply(some, keys).to_pylist())
