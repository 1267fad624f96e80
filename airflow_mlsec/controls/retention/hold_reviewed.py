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


class HeldSince(Reason, en="by {by}, since {day}", de="von {by}, seit {day}"):
    """Since when somebody's data is held."""

    by: str
    day: str


class HoldReviewed(RegisterControl):
    """A blanket hold keeps data for ever that nobody needs any more."""

    id = "hold-reviewed"
    title = Text(
        en="No legal hold is older than a year without being placed anew",
        de="Keine Aufbewahrungsanordnung ist älter als ein Jahr, ohne erneuert worden zu sein",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.HOLD
    reads = (Reads.LEDGER,)
    cites = ("gdpr:5(1)(e)", "gdpr:17(3)", "iso-27001:A.8.10")
    remedy = Text(
        en="End the hold with `mlsec subject hold --release`, or place it again with its reason.",
        de="Beenden Sie die Anordnung mit `mlsec subject hold --release`, oder ordnen Sie sie mit ihrem Grund neu an.",
    )
    example = Example(
        holds="a hold of last spring, for a case that is pending",
        fails="a hold of three years ago, of a case that nobody remembers",
    )
    parameters: ClassVar = {"days": 365}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for hold in facts.holds:
            reason = HeldSince(hold.placed_by, hold.placed_at[:10])
            late = facts.days_since(hold.placed_at) > facts.number(self, "days")
            yield str(hold.id), failed(reason) if late else passed(reason)
