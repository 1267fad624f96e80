"""Random codes: the same for the same value, derived from nothing, and forgotten with an entry."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import RegisterVault, anonymize, forget, tokens_of
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import PolicyError, UsageError
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests import canaries

COLUMNS = """
email: {role: identifying, transform: {method: vault, domain: person}}
age: {role: insensitive}
"""


def codes(vault: RegisterVault, *values: Any, domain: str = "person") -> list[str]:
    found: list[str] = vault.tokens(domain, "email", pa.array(values)).to_pylist()
    return found


def test_a_value_has_one_code_and_another_value_another(register: Register, keys: KeyRing) -> None:
    vault = RegisterVault(register, keys, None)
    first = codes(vault, "a", "b", None, "a")
    assert first[0] == first[3] != first[1]
    assert first[2] is None
    assert all(re.fullmatch("[0-9a-f]{32}", code) for code in first if code)
    assert codes(RegisterVault(register, keys, None), "b", "c", "a")[::2] == [first[1], first[0]]
    assert codes(vault, "a", domain="other") != [first[0]]
    assert codes(vault, 7) == codes(vault, "7"), "one canonical text in every type"
    assert codes(vault) == []


def test_codes_are_not_derived_from_values_or_keys(
    register: Register, keys: KeyRing, tmp_path: Path
) -> None:
    vault = RegisterVault(register, keys, None)
    before = codes(vault, canaries.EMAIL)
    assert canaries.found_in(str(register.rows(sa.select(t.token)))) == []
    found = register.read(lambda c: tokens_of(c, keys, "person", [canaries.EMAIL]))
    assert found == before
    assert register.write(lambda c: forget(c, "person", before)) == 1
    assert codes(vault, canaries.EMAIL) != before, "nobody can work it out again"


def test_a_rotated_key_keeps_the_codes(register: Register, keys: KeyRing) -> None:
    vault = RegisterVault(register, keys, None)
    before = codes(vault, "a", "b")
    keys.rotate("vault.person")
    assert codes(vault, "b", "new", "a")[::2] == [before[1], before[0]]
    assert set(register.read(lambda c: tokens_of(c, keys, "person", ["a"]))) == {before[0]}


def test_many_at_once_agree(register: Register, keys: KeyRing) -> None:
    values = [f"p{i}@x.example" for i in range(2_000)]
    found: list[list[str]] = []

    def work(order: list[str]) -> None:
        made = dict(zip(order, codes(RegisterVault(register, keys, None), *order), strict=True))
        found.append([made[value] for value in values])

    keys.ensure("vault.person")
    orders = (values, values[::-1], values[1_000:] + values[:1_000])
    threads = [Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(values)


def test_a_release_has_codes_and_a_dry_run_leaves_none(
    register: Register,
    keys: KeyRing,
    make_policy: Callable[..., Policy],
    tmp_path: Path,
    write: Callable[..., str],
    read: Callable[..., pa.Table],
) -> None:
    table = pa.table({"email": [canaries.EMAIL, "b@x.example", canaries.EMAIL], "age": [1, 2, 3]})
    source = open_dataset(write(tmp_path / "people.parquet", table))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    policy, vault = make_policy(COLUMNS), RegisterVault(register, keys, None)
    anonymize(policy, source, target, keys, vault=vault, dry_run=True)
    assert register.rows(sa.select(t.token)) == []
    with pytest.raises(UsageError, match="token vault"):
        anonymize(policy, source, target, keys)
    done = anonymize(policy, source, target, keys, vault=vault)
    made = read(tmp_path / "safe.parquet").column("email").to_pylist()
    assert made[0] == made[2] == codes(vault, canaries.EMAIL)[0]
    assert canaries.found_below(tmp_path, [tmp_path / "people.parquet"]) == []
    row = pa.table({"email": [canaries.EMAIL], "age": [9]})
    assert done.plan.apply(row, keys, vault).column("email").to_pylist() == made[:1]
    with pytest.raises(UsageError, match="column 'email' gets random codes"):
        done.plan.apply(row, keys)
    with pytest.raises(PolicyError, match="identifying"):
        make_policy(
            COLUMNS.replace("insensitive", "sensitive, transform: {method: vault, domain: x}")
        )
