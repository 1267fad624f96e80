"""Columns encrypted on their own, by the category of what is in them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.crypto import (
    KeyRing,
    is_encrypted,
    keys_by_category,
    read_encrypted,
    write_encrypted,
)
from airflow_mlsec.crypto._columns import FOOTER_KEY
from airflow_mlsec.errors import ColumnMissing, DecryptionFailed, UsageError
from airflow_mlsec.policy import Policy
from tests import canaries

EMAIL_KEY = "column.user.contact.email"


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "email": [f"{i}{canaries.EMAIL}" for i in range(1_000)],
            "diagnosis": [["flu", canaries.NAME][i % 2] for i in range(1_000)],
            "plain": list(range(1_000)),
            "address": [{"city": canaries.PHONE, "zip": str(i)} for i in range(1_000)],
        }
    )


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        "email: {role: identifying, category: user.contact.email, transform: {method: drop}}\n"
        "diagnosis: {role: sensitive}\n"
        "address: {role: identifying, category: user.contact.address, transform: {method: drop}}\n"
        "plain: {role: insensitive}"
    )


@pytest.fixture
def encrypted(table: pa.Table, policy: Policy, keys: KeyRing, tmp_path: Path) -> Path:
    path = tmp_path / "t.parquet"
    columns = keys_by_category(policy, table.schema.names)
    write_encrypted(table.to_batches(max_chunksize=300), table.schema, path, columns, keys)
    return path


def test_columns_have_the_keys_of_their_categories(policy: Policy, table: pa.Table) -> None:
    assert keys_by_category(policy, table.schema.names) == {
        EMAIL_KEY: ["email"],
        "column.sensitive": ["diagnosis"],
        "column.user.contact.address": ["address"],
    }


def test_the_ring_reads_all_and_nobody_else_anything(
    encrypted: Path, table: pa.Table, keys: KeyRing, tmp_path: Path
) -> None:
    assert is_encrypted(encrypted)
    assert read_encrypted(encrypted, keys).equals(table)
    assert read_encrypted(encrypted, keys, ["plain", "email"]).equals(
        table.select(["plain", "email"])
    )
    assert canaries.found_in(encrypted.read_bytes().decode("latin-1")) == []
    assert b"diagnosis" not in encrypted.read_bytes()
    with pytest.raises((pa.ArrowException, OSError)):
        pq.read_table(encrypted)
    with pytest.raises(DecryptionFailed):
        read_encrypted(encrypted, KeyRing.create(tmp_path / "other"))
    keys.rotate(EMAIL_KEY)
    assert read_encrypted(encrypted, keys).equals(table)


def test_without_one_key_the_other_columns_are_read(
    encrypted: Path, table: pa.Table, keys: KeyRing
) -> None:
    keys.destroy(EMAIL_KEY, 1)
    assert read_encrypted(encrypted, keys).equals(table.drop_columns(["email"]))
    with pytest.raises(DecryptionFailed):
        read_encrypted(encrypted, keys, ["email"])
    keys.destroy(FOOTER_KEY, 1)
    with pytest.raises(DecryptionFailed):
        read_encrypted(encrypted, keys)


def test_a_changed_byte_is_noticed(encrypted: Path, table: pa.Table, keys: KeyRing) -> None:
    data = bytearray(encrypted.read_bytes())
    for place in range(10, len(data) - 10, len(data) // 40):
        changed = bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])
        encrypted.write_bytes(changed)
        try:
            found = read_encrypted(encrypted, keys, table.schema.names)
        except DecryptionFailed:
            continue
        pytest.fail(f"byte {place} was changed, and {found.num_rows} rows were read")


def test_a_changed_byte_is_never_taken_for_a_missing_key(
    encrypted: Path, table: pa.Table, keys: KeyRing
) -> None:
    """Without naming columns, a column that was damaged must not be left out as one without a key is."""
    whole = encrypted.read_bytes()
    keys.destroy("column.address", 1) if keys.has("column.address") else None
    readable = set(read_encrypted(encrypted, keys).column_names)
    refused = 0
    for at in range(4, len(whole), max(1, len(whole) // 150)):
        encrypted.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read_encrypted(encrypted, keys)
        except DecryptionFailed:
            refused += 1
            continue
        assert set(found.column_names) == readable
        assert found.equals(table.select(found.column_names))
    assert refused > 100


def test_what_cannot_be_written_leaves_nothing(
    table: pa.Table, keys: KeyRing, tmp_path: Path
) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(ColumnMissing):
        write_encrypted(table.to_batches(), table.schema, path, {"column.x": ["none"]}, keys)
    with pytest.raises(UsageError, match="no column"):
        write_encrypted(table.to_batches(), table.schema, path, {}, keys)
    wrong = [pa.RecordBatch.from_pydict({"other": [1]})]
    with pytest.raises(Exception, match="schema"):
        write_encrypted(wrong, table.schema, path, {"column.x": ["email"]}, keys)
    assert not path.exists()
    with pytest.raises(ColumnMissing):
        write_encrypted(table.to_batches(), table.schema, path, {"column.x": ["email"]}, keys)
        read_encrypted(path, keys, ["none"])


def test_on_the_command_line(
    mlsec: Callable[..., subprocess.CompletedProcess[str]], table: pa.Table, tmp_path: Path
) -> None:
    source, sealed, back = (tmp_path / f"{name}.parquet" for name in ("a", "b", "c"))
    pq.write_table(table, source)
    (tmp_path / "p.yaml").write_text(
        "version: 1\ndataset: x\nowner: o\ncolumns:\n"
        "  email: {role: identifying, category: user.contact.email, transform: {method: drop}}\n"
        "  diagnosis: {role: sensitive}\n  plain: {role: insensitive}\n"
        "  address: {role: identifying, transform: {method: drop}}\n"
    )
    done = mlsec("columns", "encrypt", tmp_path / "p.yaml", source, sealed)
    assert done.returncode == 0, done.stderr
    assert f"{EMAIL_KEY}: email" in done.stdout
    assert mlsec("columns", "decrypt", sealed, back).returncode == 0
    assert pq.read_table(back).equals(table)
    assert mlsec("keys", "destroy", EMAIL_KEY, "--version", "1", "--yes").returncode == 0
    assert (
        "3 columns: diagnosis, plain, address" in mlsec("columns", "decrypt", sealed, back).stdout
    )
    assert mlsec("columns", "decrypt", sealed, back, "--column", "email").returncode == 3
    assert mlsec("columns", "decrypt", source, back).returncode == 2
