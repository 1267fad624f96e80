"""Asking for less never costs more: a smaller k, a looser limit; and local recoding never more than full-domain."""

from __future__ import annotations

import itertools
import random

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import parse_policy

POLICY = """version: 1
dataset: d
owner: o
columns:
  a: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5, 10, 20]}}
  b: {role: quasi-identifying, hierarchy: {kind: prefix}}
  c: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""
SIZES = (2, 3, 4, 5, 7, 8, 10, 12, 20)
LIMITS = (0.0, 0.05, 0.3, 1.0)
RECODINGS = ("full-domain", "local", "multidimensional")
IMPOSSIBLE = 9.0


@pytest.mark.parametrize("seed", [1, 3, 4, 7, 8, 9])
def test_less_never_costs_more(keys: KeyRing, seed: int) -> None:
    draw = random.Random(seed)
    rows = draw.choice([40, 100, 400])
    table = pa.table(
        {
            "a": [int(draw.gauss(40, 15)) for _ in range(rows)],
            "b": [f"{min(999, int(draw.expovariate(1 / 100))):03}" for _ in range(rows)],
            "c": [draw.choice("xyz") for _ in range(rows)],
        }
    )

    def loss(recoding: str, k: int, limit: float) -> float:
        asked = f"privacy: {{k_anonymity: {k}, suppression_limit: {limit}, recoding: {recoding}}}\n"
        policy = parse_policy(POLICY + asked, "p")
        try:
            plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
        except GuaranteeNotMet:
            return IMPOSSIBLE
        return float(plan.achieved["ncp"])

    found = {
        (recoding, k, limit): loss(recoding, k, limit)
        for recoding, k, limit in itertools.product(RECODINGS, SIZES, LIMITS)
    }
    for recoding, limit in itertools.product(RECODINGS, LIMITS):
        for less, more in itertools.pairwise(SIZES):
            assert found[recoding, less, limit] <= found[recoding, more, limit] + 1e-9, (recoding, less, limit)  # fmt: skip
    for recoding, k in itertools.product(RECODINGS, SIZES):
        for tight, loose in itertools.pairwise(LIMITS):
            assert found[recoding, k, loose] <= found[recoding, k, tight] + 1e-9, (recoding, k, loose)  # fmt: skip
    for k, limit in itertools.product(SIZES, LIMITS):
        assert found["local", k, limit] <= found["full-domain", k, limit] + 1e-9, (k, limit)
