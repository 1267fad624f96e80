"""One of our writers at a time where a store cannot say whether somebody else has written since."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.processes import has_ended, this_process
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._register import Register

# Processes on other machines cannot be seen from here, so a claim expires after this time.
_LONGEST = timedelta(days=1)
_SOON = timedelta(minutes=15)
# Seconds between attempts.
_AGAIN = 0.2


@contextlib.contextmanager
def sole_writer(
    register: Register,
    uri: str,
    kept_apart: bool,
    everywhere: bool = False,
    patience: float = 0.0,
) -> Iterator[None]:
    """Be the only one of our writers that rewrites what is at a URI.

    Object stores replace whatever is there, and an upload takes a while: if two writers read the same object, the
    later one would undo the other's changes.

    :param kept_apart: Whether the filesystem or the database itself keeps concurrent writers apart.
    :param everywhere: Lock even where the store keeps writers apart: for several steps
        that belong together.
    :param patience: How many seconds to wait for another writer.
    :raises ChangedMeanwhile: if another of our writers is still rewriting it.
    """
    if not everywhere and kept_apart:
        yield
        return
    until = time.monotonic() + patience
    mine = {**this_process(), "token": secrets.token_hex(8)}

    def take(connection: sa.Connection) -> None:
        w, now = t.writing.c, register.now()
        row = connection.execute(sa.select(t.writing).where(w.uri == uri)).first()
        if row is not None:
            if not _is_over(row, now, kept_apart):
                raise ChangedMeanwhile(
                    f"{uri} is being rewritten by another process of ours (since {row.began_at[:19]}Z); try again"
                )
            connection.execute(sa.delete(t.writing).where(w.uri == uri, w.began_at == row.began_at))
        values = {"uri": uri, "writer": mine, "began_at": now}
        connection.execute(sa.insert(t.writing).values(values))

    def leave(connection: sa.Connection) -> None:
        row = connection.execute(sa.select(t.writing).where(t.writing.c.uri == uri)).first()
        if row is not None and row.writer == mine:
            connection.execute(sa.delete(t.writing).where(t.writing.c.uri == uri))

    while True:
        try:
            register.write(take)
            break
        except ChangedMeanwhile:
            if time.monotonic() >= until:
                raise
        time.sleep(_AGAIN)
    try:
        yield
    finally:
        register.write(leave)


def _is_over(row: Any, now: str, kept_apart: bool) -> bool:
    # Where the store keeps single writes apart, the claim expires sooner: only evidence could be lost, not rows.
    longest = _SOON if kept_apart else _LONGEST
    return has_ended(row.writer) or (
        datetime.fromisoformat(row.began_at) + longest < datetime.fromisoformat(now)
    )
