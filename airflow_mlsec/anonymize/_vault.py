"""A token vault: random codes that are not derived from the values they stand for.

A pseudonym is derived from the value and a key; HIPAA's re-identification code must not be derived
from information about the person (45 CFR 164.514(c)). A vault gives each value of a domain a random
code, once, and records which one it gave under a keyed digest, so that the vault alone identifies
nobody. Without its entry a code reveals nothing, not even to somebody who has the key.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pyarrow as pa
import sqlalchemy as sa

from airflow_mlsec.anonymize._coding import first_places
from airflow_mlsec.codes import pseudonymize
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.register import (
    Register,
    insert_rows,
    refuse_if_requests_did_more,
    rows_of,
)
from airflow_mlsec.register import tables as t


def vault_key(domain: str) -> str:
    """The name of the key under which a domain's vault records values."""
    return f"vault.{domain}"


class RegisterVault:
    """The vault in the register.

    :param done: What requests had done (`requests_done`) before the values that get codes were read; None if none
        of them was read from a place that people can be erased from.
    """

    def __init__(self, register: Register, keys: KeyRing, done: int | None) -> None:
        self._register, self._keys, self._done = register, keys, done

    def tokens(self, domain: str, column: str, values: pa.Array) -> pa.Array:
        """See `TokenVault`.

        :raises ChangedMeanwhile: if somebody who may be among the values was erased since they were read.
        :raises ColumnType: if the values have no canonical text.
        :raises RegisterError: if the register cannot be written.
        """
        current = self._keys.ensure(vault_key(domain))
        encoded = pseudonymize(values, column, current.secret).dictionary_encode()
        digests = encoded.dictionary.to_pylist()
        known = self._known(domain, digests)
        if missing := [i for i, digest in enumerate(digests) if digest not in known]:
            # A value may have its code from before the key was rotated.
            places = pa.array(missing, pa.int64())
            numbers = encoded.indices.fill_null(len(digests)).to_numpy(zero_copy_only=False)
            first = pa.array(first_places(numbers, len(digests) + 1)).take(places)
            earlier = self._earlier(domain, column, values.take(first), current)
            codes = [code or secrets.token_hex(16) for code in earlier]
            new = {digests[i]: code for i, code in zip(missing, codes, strict=True)}
            # Another task may be faster: then its codes are used.
            known |= self._register.write(lambda c: self._add(c, domain, current, new))
        texts = pa.array([known[digest] for digest in digests], pa.string())
        return texts.take(encoded.indices)

    def _known(self, domain: str, digests: Sequence[str]) -> dict[str, str]:
        return self._register.read(lambda connection: _read(connection, domain, digests))

    def _earlier(
        self, domain: str, column: str, values: pa.Array, current: Key
    ) -> list[str | None]:
        found: list[str | None] = [None] * len(values)
        for key in self._keys.live(current.name):
            if key.version == current.version:
                continue
            digests = pseudonymize(values, column, key.secret).to_pylist()
            known = self._known(domain, digests)
            found = [code or known.get(d) for code, d in zip(found, digests, strict=True)]
        return found

    def _add(
        self, connection: sa.Connection, domain: str, key: Key, new: dict[str, str]
    ) -> dict[str, str]:
        if self._done is not None:
            refuse_if_requests_did_more(connection, self._done, f"a column of domain {domain}")
        now = self._register.now()
        rows = [(domain, digest, code, key.version, now) for digest, code in new.items()]
        names = ("domain", "digest", "token", "key_version", "added_at")
        insert_rows(connection, t.token, names, rows)
        return _read(connection, domain, list(new))


class DryVault:
    """Gives codes that are not stored, for a dry run."""

    def tokens(self, domain: str, column: str, values: pa.Array) -> pa.Array:
        """See `TokenVault`."""
        encoded = pseudonymize(values, column, bytes(32)).dictionary_encode()
        codes = [secrets.token_hex(16) for _ in range(len(encoded.dictionary))]
        return pa.array(codes, pa.string()).take(encoded.indices)


def tokens_of(
    connection: sa.Connection, keys: KeyRing, domain: str, texts: Sequence[str]
) -> list[str]:
    """The codes that some values have, under any live version of the vault's key."""
    return list(_read(connection, domain, _digests(keys, domain, texts)).values())


def vault_versions(connection: sa.Connection, domain: str) -> tuple[tuple[int, str | None], ...]:
    """The versions of the vault's key under which it records values."""
    query = sa.select(t.token.c.key_version).distinct().where(t.token.c.domain == domain)
    return tuple((version, None) for version in sorted(connection.execute(query).scalars()))


def known_codes(connection: sa.Connection, domain: str, codes: Sequence[str]) -> int:
    """How many of these codes a vault has given."""
    x, found = t.token.c, 0
    for start in range(0, len(codes), 500):
        part = codes[start : start + 500]
        query = sa.select(sa.func.count()).where(x.domain == domain, x.token.in_(part))
        found += connection.execute(query).scalar_one()
    return found


def forget(connection: sa.Connection, domain: str, codes: Sequence[str]) -> int:
    """Remove entries from a vault; returns how many. From then on their codes mean nothing."""
    x, removed = t.token.c, 0
    for start in range(0, len(codes), 500):
        part = codes[start : start + 500]
        gone = sa.delete(t.token).where(x.domain == domain, x.token.in_(part))
        removed += connection.execute(gone).rowcount
    return removed


def _digests(keys: KeyRing, domain: str, texts: Sequence[str]) -> list[str]:
    found: list[str] = []
    for key in keys.live(vault_key(domain)):
        found += pseudonymize(pa.array(list(texts), pa.string()), "key", key.secret).to_pylist()
    return found


def _read(connection: sa.Connection, domain: str, digests: Sequence[str]) -> dict[str, str]:
    wanted = [(domain, digest) for digest in digests if digest is not None]
    return dict(
        tuple(row)
        for row in rows_of(connection, t.token, ("digest", "token"), ("domain", "digest"), wanted)
    )
