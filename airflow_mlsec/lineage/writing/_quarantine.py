"""Events that could not be read or written are kept, with the reason, until somebody reviews them.

Another program's malformed event may quote anything, so it is encrypted (age) to the key
ring's own recipient before it is stored.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing, decrypt, encrypt, identity_of, ring_key
from airflow_mlsec.errors import UsageError
from airflow_mlsec.register import Register, upsert
from airflow_mlsec.register import tables as t

_KEY = "artifact"
HELD, APPLIED, DISCARDED = "held", "applied", "discarded"
_WITHOUT_CONTENT: dict[str, object] = {"status": DISCARDED, "payload": b""}


@dataclass(frozen=True)
class HeldEvent:
    """An event in quarantine, without its content."""

    id: int
    source: str
    reason: str
    status: str
    received_at: str
    client: str | None = None


class Quarantine:
    """The quarantine of a register. The key ring is created when the first event needs it."""

    def __init__(self, register: Register, ring: Callable[[], KeyRing]) -> None:
        self._register, self._ring = register, ring

    def hold(self, events: Sequence[tuple[bytes, str, str, str | None]]) -> None:
        """Keep events, given as (content, source, reason, client), in one transaction. The same event is kept only
        once, with the last reason."""
        if not events:
            return
        recipient = identity_of(ring_key(self._ring(), _KEY, [])).recipient
        now = self._register.now()
        rows = []
        for payload, source, reason, client in events:
            sealed = io.BytesIO()
            encrypt(io.BytesIO(payload), sealed, [recipient])
            values = {"reason": reason[:1_000], "received_at": now}
            # What was discarded, or applied, is not held again: its content is gone.
            first = {
                "source": source[:500],
                "payload": sealed.getvalue(),
                "status": HELD,
                "client": client,
            }
            rows.append(({"digest": hashlib.sha256(payload).hexdigest()}, values, first))

        def work(connection: sa.Connection) -> None:
            for digest, values, first in rows:
                upsert(connection, t.quarantine, digest, values, first)

        self._register.write(work)

    def held(self, status: str | None = HELD) -> list[HeldEvent]:
        """Events in quarantine, oldest first; of every status if None."""
        q = t.quarantine.c
        query = sa.select(q.id, q.source, q.reason, q.status, q.received_at, q.client).order_by(
            q.id
        )
        rows = self._register.rows(query if status is None else query.where(q.status == status))
        return [
            HeldEvent(r.id, r.source, r.reason, r.status, r.received_at, r.client) for r in rows
        ]

    def content(self, identifier: int) -> bytes:
        """The event as it was received.

        :raises UsageError: if there is no such event.
        :raises DecryptionFailed: if no live key of the ring opens it.
        """
        q = t.quarantine.c
        rows = self._register.rows(sa.select(q.payload).where(q.id == identifier))
        if not rows:
            raise UsageError(f"no event {identifier} is in quarantine")
        plain = io.BytesIO()
        identities = [identity_of(key) for key in self._ring().live(_KEY)]
        decrypt(io.BytesIO(bytes(rows[0].payload)), plain, identities)
        return plain.getvalue()

    def settle(self, identifier: int, status: str) -> None:
        """Mark an event as applied or discarded; a discarded one loses its content."""
        values = _WITHOUT_CONTENT if status == DISCARDED else {"status": status}
        update = sa.update(t.quarantine).where(t.quarantine.c.id == identifier).values(values)
        if self._register.write(lambda c: c.execute(update).rowcount) == 0:
            raise UsageError(f"no event {identifier} is in quarantine")


def discard_of(connection: sa.Connection, client: str, since: str) -> int:
    """Discard what is held of a client's events since a time; returns how many they were."""
    q = t.quarantine.c
    of_client = q.client == client, q.status == HELD, q.received_at >= since
    update = sa.update(t.quarantine).where(*of_client).values(_WITHOUT_CONTENT)
    return connection.execute(update).rowcount
