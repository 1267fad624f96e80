"""How much work is done to follow the SQL of one event.

A few kilobytes of SQL can ask for hours of it: three hundred common table expressions over ten thousand columns. The
limit counts columns and what flows into them, not time, so that the same event gives the same lineage everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# One to two seconds' work. A hundred sub-queries over each other, of a thousand columns each, take half of it.
MOST_WORK = 500_000

_LEFT: ContextVar[list[int] | None] = ContextVar("left", default=None)


class NotFollowed(Exception):
    """Something in SQL that cannot be followed to the columns of tables."""


@contextmanager
def limited_work(most: int = MOST_WORK) -> Iterator[None]:
    """Do at most that much work within."""
    token = _LEFT.set([most])
    try:
        yield
    finally:
        _LEFT.reset(token)


def spend(work: int) -> None:
    """Count work: about one for each column that is looked at, or copied with what flows into it.

    :raises NotFollowed: if it is more than what is done for one event, now and from then on.
    """
    left = _LEFT.get()
    if left is not None:
        left[0] -= work
        if left[0] < 0:
            raise NotFollowed("more work than is done for one event")
