"""A key ring in the register: workers that share only the database use the same ring.

A change of the ring and the recorded fingerprints of its keys are one transaction, and all other writers of the ring
wait. A secret that was destroyed is overwritten, and what the database kept of the old row is cleaned up; the database's
write-ahead log, replicas and backups are beyond our reach, as for any table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from airflow_mlsec.crypto import opened_root, wrapped_root
from airflow_mlsec.errors import KeyNotFound, UsageError
from airflow_mlsec.register import Register, lock_table, upsert
from airflow_mlsec.register import tables as t

Result = TypeVar("Result")
_WHERE = "the register (mlsec_kept_ring)"
_ROW = {"id": 1}


@dataclass(frozen=True)
class RegisterStore:
    """The one ring that a register keeps. See `crypto.RingStore`."""

    register: Register

    @property
    def where(self) -> str:
        return _WHERE

    @property
    def folder(self) -> Path | None:
        return None

    def exists(self) -> bool:
        return self.register.exists() and self._value("document") is not None

    def change(self, work: Callable[[], Result]) -> Result:
        def locked(connection: sa.Connection) -> Result:
            lock_table(connection, t.kept_ring)
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            return work()

        made = self.register.write(locked)
        self.register.within(_purge)
        return made

    def read(self) -> bytes:
        found = self._value("document") if self.register.exists() else None
        if found is None:
            raise KeyNotFound(f"no key ring in {_WHERE}; `mlsec keys init` makes one")
        return found

    def newest(self) -> bytes | None:
        return self._value("newest")

    def write(self, ring: bytes, newest: bytes) -> None:
        self._set(document=ring, newest=newest)

    def has_root(self) -> bool:
        return self.register.exists() and self._value("root") is not None

    def root(self) -> bytes:
        found = self._value("root") if self.register.exists() else None
        if found is None:
            raise KeyNotFound(f"no key ring in {_WHERE}; `mlsec keys init` makes one")
        return opened_root(found, _WHERE)

    def keep_root(self, root: bytes, service: str | None) -> None:
        if service is None:
            raise UsageError(
                "a key ring in the register cannot hold its own root key: anyone who reads the database would have all "
                "keys. Give [mlsec] root_key, root_key_file or root_key_service"
            )
        self._set(root=wrapped_root(root, service))

    def forget_plain_root(self, root: bytes) -> None:
        """Nothing to do: a root key is never kept here in plain form."""

    def _value(self, column: str) -> bytes | None:
        query = sa.select(t.kept_ring.c[column])
        found = self.register.within(lambda c: c.execute(query).scalar_one_or_none())
        return None if found is None else bytes(found)

    def _set(self, **values: Any) -> None:
        values["changed_at"] = self.register.now()
        self.register.write(lambda c: upsert(c, t.kept_ring, _ROW, values))


def _purge(connection: sa.Connection) -> None:
    """Remove all traces of the row that was replaced: it may contain a secret that was destroyed. This cannot be done
    within a transaction; then the next change does it."""
    if connection.in_transaction() and connection.get_isolation_level() != "AUTOCOMMIT":
        return
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"VACUUM (INDEX_CLEANUP ON) {t.kept_ring.name}")
    else:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
