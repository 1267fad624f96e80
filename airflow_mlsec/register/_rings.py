"""Which key ring belongs to the register, and a fingerprint of every key version that was used.

Pseudonyms, suppression lists and membership lists have a meaning under one ring only: with
another ring, a process would report that it found nobody. Holds identities and fingerprints,
never key bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.errors import AnotherRing
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._bulk import insert_rows, lock_table
from airflow_mlsec.register._register import Register


@dataclass(frozen=True)
class RingRecorder:
    """The argument of `KeyRing.bind`: records the ring in the register."""

    register: Register

    def admit(self, ring: str) -> None:
        """Record the ring, if none is recorded yet.

        :raises AnotherRing: if another ring is recorded.
        """
        known = known_ring(self.register)
        if known is None:
            known = self.register.write(lambda c: _first(c, ring, self.register.now()))
        if known != ring:
            raise AnotherRing.than_recorded(known, ring)

    def known(self, ring: str) -> dict[tuple[str, int], str]:
        """The recorded fingerprints of the ring, by key name and version."""
        k = t.ring_key.c
        query = sa.select(k.name, k.version, k.fingerprint).where(k.ring == ring)
        return {(row.name, row.version): row.fingerprint for row in self.register.rows(query)}

    def record(self, ring: str, name: str, version: int, fingerprint: str) -> str:
        """Record a fingerprint unless one is recorded already; returns the recorded one."""
        k = t.ring_key.c

        def work(connection: sa.Connection) -> str:
            names = ("ring", "name", "version", "fingerprint", "recorded_at")
            row = (ring, name, version, fingerprint, self.register.now())
            insert_rows(connection, t.ring_key, names, [row])
            query = sa.select(k.fingerprint).where(
                k.ring == ring, k.name == name, k.version == version
            )
            return str(connection.execute(query).scalar_one())

        return self.register.write(work)


def known_ring(register: Register) -> str | None:
    """The identity of the register's ring; None before any ring was used with it."""
    return register.read(_newest)


def replace_ring(connection: sa.Connection, ring: str, by: str, reason: str, now: str) -> None:
    """Make another ring the register's from now on (`ledger.adopt_ring` says who may)."""
    values = {"ring": ring, "since": now, "by": by, "reason": reason}
    connection.execute(sa.insert(t.ring).values(values))


def _first(connection: sa.Connection, ring: str, now: str) -> str:
    # If several processes have their own rings, the first is recorded, the others are refused.
    lock_table(connection, t.ring)
    known = _newest(connection)
    if known is None:
        values = {"ring": ring, "since": now}
        connection.execute(sa.insert(t.ring).values(values))
        return ring
    return known


def _newest(connection: sa.Connection) -> str | None:
    query = sa.select(t.ring.c.ring).order_by(t.ring.c.id.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()
