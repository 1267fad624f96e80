"""Column encryption: Parquet Modular Encryption with the key ring as its key management service.

Columns of one Fideslang category share a key, ``column.CATEGORY``; the footer and what is not personal have
one of their own, so that nothing is in the clear, and nothing can be changed unnoticed. A reader without a
category's key can still read the other columns. Source: https://github.com/apache/parquet-format/blob/master/Encryption.md; key material is
kept in the file in the form that parquet-java's and Arrow's key tools share (single wrapping), so that other
readers can open it with their own client for the same keys.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_mlsec import files
from airflow_mlsec.crypto._ring import KeyRing
from airflow_mlsec.errors import (
    ColumnMissing,
    DecryptionFailed,
    KeyNotFound,
    MlsecError,
    UsageError,
)
from airflow_mlsec.policy import Policy

FOOTER_KEY = "column.footer"
_PREFIX = "column."
_MAGIC = b"PARE"
_NONCE = 12


def keys_by_category(policy: Policy, present: Iterable[str]) -> dict[str, list[str]]:
    """The columns that are encrypted, by the name of their key: columns with a category under it;
    identifying, quasi-identifying and sensitive columns without one under their role."""
    found: dict[str, list[str]] = {}
    for name in present:
        column = policy.columns.get(name)
        if column is None:
            continue
        told = column.category or (None if column.role == "insensitive" else column.role.value)
        if told is not None:
            found.setdefault(f"{_PREFIX}{told}", []).append(name)
    return found


def write_encrypted(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    target: Path,
    columns: Mapping[str, Sequence[str]],
    keys: KeyRing,
) -> None:
    """Write Parquet with some columns encrypted, given the columns by the name of their key; the whole file
    or nothing. Keys that the ring does not have yet are created.

    :raises ColumnMissing: if a column is not there.
    :raises UsageError: if no column is to be encrypted.
    """
    named = [name for listed in columns.values() for name in listed]
    if not named:
        raise UsageError(
            "no column is to be encrypted: none has a category, or a role that needs it"
        )
    if missing := set(named) - set(schema.names):
        raise ColumnMissing.among(missing, schema.names, f"of what becomes {target.name}")
    for name in (FOOTER_KEY, *columns):
        keys.ensure(name)
    # Columns that need no key of their own are under the footer's: what is not encrypted could be changed.
    rest = [name for name in schema.names if name not in named]
    config = pe.EncryptionConfiguration(
        footer_key=FOOTER_KEY,
        column_keys={
            name: _leaves(schema, listed)
            for name, listed in {**columns, FOOTER_KEY: rest}.items()
            if listed
        },
        encryption_algorithm="AES_GCM_V1",
        plaintext_footer=False,
        double_wrapping=False,
        data_key_length_bits=256,
    )
    factory, connection = _factory(keys, [])
    properties = factory.file_encryption_properties(connection, config)
    with files.replacing(target) as file:
        writer = pq.ParquetWriter(
            file, schema, encryption_properties=properties, compression="zstd"
        )
        with writer:
            for batch in batches:
                writer.write_batch(batch)


def read_encrypted(source: Path, keys: KeyRing, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of an encrypted Parquet file; without ``columns`` those that the ring's keys open, so that
    columns without a key do not prevent the rest from being read.

    :raises DecryptionFailed: if the footer, or a requested column, does not open, or anything that is read
        was changed. A missing key and a wrong tag are never confused.
    :raises ColumnMissing: if a column is not there.
    """
    missing: list[str] = []
    factory, connection = _factory(keys, missing)
    try:
        properties = factory.file_decryption_properties(
            connection, pe.DecryptionConfiguration(cache_lifetime=timedelta(minutes=5))
        )
        with pq.ParquetFile(source, decryption_properties=properties) as file:
            present = file.schema_arrow.names
            if columns is None:
                return _readable(file, present, missing)
            if absent := set(columns) - set(present):
                raise ColumnMissing.among(absent, present, f"of {source.name}")
            return file.read(columns=list(columns)).select(list(columns))
    except ColumnMissing:
        raise
    except (pa.ArrowException, MlsecError, OSError, ValueError, KeyError, InvalidTag):
        # The engine's message may name keys and pages; all causes get the same answer.
        raise DecryptionFailed from None


def is_encrypted(path: Path) -> bool:
    """Whether a file is Parquet with an encrypted footer."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def _readable(file: pq.ParquetFile, present: Sequence[str], missing: list[str]) -> pa.Table:
    """The columns whose keys are there; every missing key is added to ``missing``."""
    found = {}
    for name in present:
        missing.clear()
        try:
            found[name] = file.read(columns=[name]).column(name)
        except (pa.ArrowException, OSError, ValueError, MlsecError):
            if not missing:
                raise
    if not found:
        raise DecryptionFailed
    return pa.table(found)


def _leaves(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """Paths of the Parquet columns that make up some columns; nested ones have several."""
    made = pa.BufferOutputStream()
    with pq.ParquetWriter(made, schema):
        pass
    flat = pq.ParquetFile(pa.BufferReader(made.getvalue())).schema
    paths = [flat.column(i).path for i in range(len(flat))]
    return [path for path in paths if any(path == n or path.startswith(f"{n}.") for n in names)]


class _RingKms(pe.KmsClient):  # type: ignore[misc]
    """Wraps a file's data keys under keys of the ring."""

    def __init__(self, keys: KeyRing, missing: list[str]) -> None:
        super().__init__()
        self._keys, self._missing = keys, missing

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        key, nonce = self._keys.current(master_key_identifier), os.urandom(_NONCE)
        bound = f"{key.name}:{key.version}".encode()
        sealed = nonce + AESGCM(key.secret).encrypt(nonce, key_bytes, bound)
        return base64.b64encode(f"{key.version}:".encode() + base64.b64encode(sealed))

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        version, _, sealed = base64.b64decode(wrapped_key).partition(b":")
        try:
            key = self._keys.version(master_key_identifier, int(version))
        except KeyNotFound:
            self._missing.append(master_key_identifier)
            raise
        data = base64.b64decode(sealed)
        bound = f"{key.name}:{key.version}".encode()
        return AESGCM(key.secret).decrypt(data[:_NONCE], data[_NONCE:], bound)


def _factory(keys: KeyRing, missing: list[str]) -> tuple[Any, Any]:
    return pe.CryptoFactory(lambda _config: _RingKms(keys, missing)), pe.KmsConnectionConfig()
