from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class EventsWaiting(
    Reason,
    en="{events:lineage event is|lineage events are} in quarantine, the oldest for {days:day|days}",
    de="{events:Ereignis ist|Ereignisse sind} in Quarantäne, das älteste seit {days:Tag|Tagen}",
):
    """Events that nobody has settled."""

    events: int
    days: int


class NoEventsWaiting(Reason, en="none is in quarantine", de="keines ist in Quarantäne"):
    """All events could be read."""


class EventsReadable(RegisterControl):
    """What a job has done with people's data may be in an event that could not be read."""

    id = "events-readable"
    title = Text(
        en="No lineage event has been in quarantine for more than a week",
        de="Kein Ereignis der Herkunftsverfolgung ist länger als eine Woche in Quarantäne",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LINEAGE,)
    cites = ("gdpr:5(2)", "nist-privacy:CT.DM-P")
    remedy = Text(
        en="Look at the events with `mlsec lineage quarantine`, and retry or discard each.",
        de="Sehen Sie die Ereignisse mit `mlsec lineage quarantine` durch, und wiederholen oder verwerfen Sie jedes.",
    )
    example = Example(
        holds="an event came in broken yesterday",
        fails="an event has been waiting since last month",
    )
    parameters: ClassVar = {"days": 7}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        waiting = facts.held_events
        oldest = facts.days_since(waiting[0]) if waiting else 0
        found = EventsWaiting(len(waiting), oldest) if waiting else NoEventsWaiting()
        late = oldest > facts.number(self, "days")
        yield facts.deployment, failed(found) if late else passed(found)
