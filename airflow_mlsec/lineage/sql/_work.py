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

_WORK: ContextVar[Work | None] = ContextVar("work", default=None)


class NotFollowed(Exception):
    """Something in SQL that cannot be followed to the columns of tables."""


class Work:
    """What is left of the work for one event. It is counted while queries are evaluated, and nowhere else: what cannot be
    followed is then assumed, and assuming costs nothing, so that it cannot fail for the same reason."""

    def __init__(self, most: int | None = None) -> None:
        self.left = MOST_WORK if most is None else most

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is done within."""
        token = _WORK.set(self)
        try:
            yield
        finally:
            _WORK.reset(token)


def spend(work: int) -> None:
    """Count work: about one for each column that is looked at, or copied with what flows into it.

    :raises NotFollowed: if it is more than what is done for one event, now and from then on.
    """
    counting = _WORK.get()
    if counting is not None:
        counting.left -= work
        if counting.left < 0:
            raise NotFollowed("more work than is done for one event")
