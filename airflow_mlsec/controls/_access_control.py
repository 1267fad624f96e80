"""Controls that look at everybody who can reach a dataset, as the systems themselves said when they were last read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.access import KEYS, Asked, Flag, Tells, collector_of
from airflow_mlsec.controls._control import Answer, failed, not_applicable, passed, unknown
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason

# More are counted, not named.
_NAMED = 5


class WhoStandsOut(
    Reason,
    en="{count:way|ways} in which it is reached, such as: {ways}",
    de="{count:Weg|Wege}, auf denen es erreicht wird, etwa: {ways}",
):
    """Accounts that should not be able to reach the dataset, each with what it may do and the path."""

    count: int
    ways: tuple[str, ...]


class NobodyStandsOut(
    Reason,
    en="{ways:way|ways} in which it is reached, read on {day}",
    de="{ways:Weg|Wege}, auf denen es erreicht wird, gelesen am {day}",
):
    """Everybody who can reach the dataset was looked at."""

    ways: int
    day: str


class AccessNotKnown(
    Reason,
    en="who can reach it was not read completely in the last {days} days",
    de="wer darauf zugreifen kann, wurde in den letzten {days} Tagen nicht vollständig gelesen",
):
    """No snapshot of its system is complete and recent, or no collector reads its system."""

    days: int


class SystemDoesNotTell(
    Reason,
    en="its system does not tell: {what}",
    de="sein System sagt nicht: {what}",
):
    """What the control asks about is not known of any account there."""

    what: str


class AccessControl(RegisterControl, abstract=True):
    """Base of controls about everybody who can reach a dataset.

    :cvar flags: Who must not be among them.
    :cvar needs: What a system has to tell for that.
    """

    asset = AssetKind.DATASET
    flags: ClassVar[frozenset[Flag]] = frozenset()
    needs: ClassVar[Tells | None] = None
    parameters: ClassVar = {"days": 30}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        days = facts.number(self, "days")
        for name, source in facts.access.system_of.items():
            if name == KEYS:
                continue
            items = facts.access.items.get(name, ())
            bad = [asked for asked in items if self._is_wrong(asked, facts)]
            known = facts.access.is_known(name, facts.on, days)
            if bad:
                ways = tuple(dict.fromkeys(_way(asked) for asked in bad))
                yield name, failed(WhoStandsOut(len(bad), ways[:_NAMED]))
            elif not known or source is None:
                yield name, unknown(AccessNotKnown(days))
            elif self.needs is not None and self.needs not in collector_of(source).tells:
                # A file is not signed in to; of any other system it would have to be known.
                told = SystemDoesNotTell(self.needs.value)
                yield name, not_applicable(told) if source.startswith("file:") else unknown(told)
            else:
                snapshot = facts.access.systems[source].snapshot
                day = snapshot.taken_at[:10] if snapshot is not None else ""
                yield name, passed(NobodyStandsOut(len(items), day))

    def _is_wrong(self, asked: Asked, facts: Facts) -> bool:
        del facts
        return bool(self.flags & {*asked.flags})


def _way(asked: Asked) -> str:
    return f"{asked.account} ({asked.permission}; {asked.path})"
