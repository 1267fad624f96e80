"""A looser limit is never worse, and classes of their own lose no more than one level for all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.policy import Policy


@pytest.fixture
def fitted(make_policy: Callable[..., Policy], keys: KeyRing) -> Callable[..., Plan]:
    def fit(table: pa.Table, hierarchy: str, **privacy: Any) -> Plan:
        columns = "\n".join(
            f"{n}: {{role: quasi-identifying, hierarchy: {hierarchy}}}" for n in table.schema.names
        )
        policy = make_policy(columns, privacy=privacy)
        return fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)

    return fit


def test_a_looser_limit_is_no_worse_where_the_lattice_is_too_large(
    fitted: Callable[..., Plan],
) -> None:
    draw = random.Random(3)
    table = pa.table({f"q{i}": [draw.randrange(4) for _ in range(2_000)] for i in range(13)})
    found = {
        limit: fitted(table, "{kind: interval, widths: [2]}", k_anonymity=5, suppression_limit=limit)
        for limit in (0.2, 0.5, 1.0)
    }  # fmt: skip
    losses = [plan.achieved["ncp"] for plan in found.values()]
    assert losses == sorted(losses, reverse=True)
    assert all(plan.achieved["suppressed"] <= 60 for plan in found.values())


@pytest.mark.parametrize("seed", range(8))
def test_local_recoding_is_no_worse_than_full_domain(
    fitted: Callable[..., Plan], seed: int
) -> None:
    """Few distinct values with very uneven counts, as in a list of passengers."""
    draw = random.Random(seed)
    table = pa.table(
        {
            "class": draw.choices("123", (1, 2, 9), k=400),
            "sex": draw.choices("fm", (1, 2), k=400),
            "deck": draw.choices("ABCDEFG", (1, 1, 2, 3, 5, 8, 40), k=400),
        }
    )
    for limit in (0.0, 0.05, 1.0):
        losses = {
            recoding: fitted(
                table, "{kind: suppress}", k_anonymity=5, suppression_limit=limit, recoding=recoding
            ).achieved["ncp"]
            for recoding in ("full-domain", "local")
        }
        assert losses["local"] <= losses["full-domain"] + 1e-9, limit
