"""A policy says which values tell the same: then they are one for l-diversity, for fitter and checker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import anonymize, verify_release
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet, PolicyError
from airflow_mlsec.policy import Policy

COLUMNS = """
zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
ill: {role: sensitive}
"""
CANCERS = {"cancer": ["lung cancer", "Breast cancer", "skin cancer"]}


def policy_of(make_policy: Callable[..., Policy], **diversity: Any) -> Policy:
    said = {"kind": "distinct", "l": 2, **diversity}
    return make_policy(COLUMNS, privacy={"k_anonymity": 2, "l_diversity": {"ill": said}})


def table_of(*ills: str | None) -> pa.Table:
    return pa.table({"zip": ["1"] * len(ills), "ill": pa.array(ills, pa.string())})


def holds(policy: Policy, table: pa.Table) -> bool:
    found = verify_release(policy, table.schema, table.to_batches())
    [one] = [f for f in found if "l-diversity" in f.check]
    return one.passed


@pytest.mark.parametrize(
    ("said", "ills", "diverse"),
    [
        ({}, ["lung cancer", "breast cancer"], True),
        ({"groups": CANCERS}, ["lung cancer", "breast cancer"], False),
        ({"groups": CANCERS}, ["LUNG cancer ", " skin CANCER"], False),
        ({"groups": CANCERS}, ["lung cancer", "flu"], True),
        # What a group is called is no value of it.
        ({"groups": CANCERS}, ["lung cancer", "cancer"], True),
        ({"groups": CANCERS}, ["lung cancer", "a group: cancer"], True),
        ({}, ["HIV", "hiv "], False),
        ({"fold": False}, ["HIV", "hiv "], True),
        ({"fold": False, "groups": {"hiv": ["HIV", "hiv "]}}, ["HIV", "hiv "], False),
        ({"fold": False}, ["HIV", None], False),
        ({"groups": CANCERS, "kind": "entropy", "l": 1.9}, ["lung cancer", "skin cancer", "flu"], False),
        ({"groups": CANCERS, "kind": "recursive", "l": 2, "c": 1.5}, ["lung cancer", "skin cancer", "flu"], False),
        ({"kind": "recursive", "l": 2, "c": 1.5}, ["lung cancer", "skin cancer", "flu"], True),
    ],
)  # fmt: skip
def test_fitter_and_checker_agree_on_what_is_diverse(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    said: dict[str, Any],
    ills: list[str | None],
    diverse: bool,
) -> None:
    policy, table = policy_of(make_policy, **said), table_of(*ills)
    assert holds(policy, table) is diverse
    source = open_dataset(write(tmp_path / "p.parquet", table))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    if diverse:
        assert anonymize(policy, source, target, keys).released == len(ills)
    else:
        with pytest.raises(GuaranteeNotMet, match="cannot be reached|l-diversity|no recoding"):
            anonymize(policy, source, target, keys)


@given(
    st.lists(st.sampled_from(["a", "A ", "b", "c", " C", "d", None]), min_size=2, max_size=9),
    st.integers(2, 3),
)
def test_the_checker_counts_as_brute_force_does(ills: list[str | None], least: int) -> None:
    text = "version: 1\ndataset: d\nowner: o\ncolumns:\n  zip: {role: quasi-identifying, hierarchy: {kind: suppress}}\n  ill: {role: sensitive}\n"
    text += f"privacy: {{k_anonymity: 2, l_diversity: {{ill: {{kind: distinct, l: {least}, groups: {{x: [b, C]}}}}}}}}\n"
    from airflow_mlsec.policy import parse_policy

    told = {ill.strip().lower() for ill in ills if ill is not None}
    alike = {"x" if ill in ("b", "c") else ill for ill in told}
    assert holds(parse_policy(text, "p"), table_of(*ills)) is (len(alike) >= least)


def test_a_value_is_in_one_group(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(PolicyError, match="one value twice"):
        policy_of(make_policy, groups={"a": ["HIV"], "b": ["hiv "]})
    with pytest.raises(PolicyError, match="one value twice"):
        policy_of(make_policy, groups={"a": ["Fu\u00dfpilz"], "b": ["FUSSPILZ"]})
    assert "groups" not in policy_of(make_policy).canonical().decode()


@pytest.mark.parametrize(
    "ills",
    [
        ["\u039a\u0391\u03a1\u039a\u0399\u039d\u039f\u03a3", "\u03ba\u03b1\u03c1\u03ba\u03b9\u03bd\u03bf\u03c2"],
        ["Fu\u00dfpilz", "FUSSPILZ"],
        ["\u0130ltihap", "iltihap"],
        ["cancer", ""],
        ["cancer", " \u00a0"],
    ],
)  # fmt: skip
def test_one_value_in_other_letters_or_none_is_no_diversity(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    ills: list[str],
) -> None:
    policy, table = policy_of(make_policy), table_of(*ills)
    assert not holds(policy, table)
    source = open_dataset(write(tmp_path / "p.parquet", table))
    with pytest.raises(GuaranteeNotMet, match="cannot be reached|no recoding"):
        anonymize(policy, source, open_dataset(str(tmp_path / "safe.parquet")), keys)
