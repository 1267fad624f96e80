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
    not_applicable,
    passed,
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class PlacesOpen(
    Reason,
    en="{places:place is|places are} not settled, {days:day|days} before the deadline",
    de="{places:Ort ist|Orte sind} nicht erledigt, {days:Tag|Tage} vor der Frist",
):
    """Places that keep the request open."""

    places: int
    days: int


class ClosedWithOpenPlaces(
    Reason,
    en="it was closed with {places:place|places} not settled",
    de="sie wurde geschlossen, obwohl {places:Ort|Orte} nicht erledigt sind",
):
    """The request should not be closed."""

    places: int


class PlacesSettledAll(Reason, en="all of {places:place|places} settled", de="alle {places:Ort|Orte} erledigt"):  # fmt: skip
    """Nothing keeps the request open."""

    places: int


class PlacesInWork(Reason, en="{places:place|places} in work", de="{places:Ort|Orte} in Arbeit"):
    """There is time left."""

    places: int


class NotSearched(
    Reason,
    en="nobody has searched for the person's data",
    de="niemand hat nach den Daten der Person gesucht",
):
    """It is not known where the data is."""


class RequestRefused(Reason, en="it was refused", de="sie wurde abgelehnt"):
    """`refusal-explained` asks for the letter."""


class PlacesSettled(RegisterControl):
    """A request that is closed with an unknown place says something that nobody knows."""

    id = "places-settled"
    title = Text(
        en="No request is closed, or a week from its deadline, with a place that is not settled",
        de="Keine Anfrage ist geschlossen oder eine Woche vor ihrer Frist, solange ein Ort nicht erledigt ist",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS, Reads.LINEAGE)
    cites = ("gdpr:17(1)", "gdpr:15(3)", "ccpa:1798.105", "nist-privacy:CT.DM-P")
    remedy = Text(
        en="Look at the places with `mlsec subject status`, search again, or settle them by hand with a reason.",
        de="Sehen Sie sich die Orte mit `mlsec subject status` an, suchen Sie erneut, oder erledigen Sie sie von Hand mit einem Grund.",
    )
    example = Example(
        holds="every place ends as erased, none, rebuilt or retained",
        fails="a bucket could not be read, and the answer is due in three days",
    )
    parameters: ClassVar = {"days": 7}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            if request.status == "refused":
                yield str(request.id), not_applicable(RequestRefused())
                continue
            left = len(request.open_steps())
            day = request.last_day(facts.calendar.zone)
            days = facts.number(self, "days") if day is None else (day - facts.on).days
            if not request.steps:
                late = days < facts.number(self, "days")
                answer = failed(NotSearched()) if late else unknown(NotSearched())
            elif request.closed_at is not None:
                done = PlacesSettledAll(len(request.steps))
                answer = failed(ClosedWithOpenPlaces(left)) if left else passed(done)
            elif left and days < facts.number(self, "days"):
                answer = failed(PlacesOpen(left, max(0, days)))
            else:
                answer = (
                    passed(PlacesInWork(left))
                    if left
                    else passed(PlacesSettledAll(len(request.steps)))
                )
            yield str(request.id), answer
