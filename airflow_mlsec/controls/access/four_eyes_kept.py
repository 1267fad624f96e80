from __future__ import annotations

from collections.abc import Iterator

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


class FourEyesFor(Reason, en="four eyes: {which}", de="Vier-Augen-Prinzip: {which}"):
    """For which requests two people are needed (`[mlsec] four_eyes`)."""

    which: str


class FourEyesKept(RegisterControl):
    """One person alone cannot erase."""

    id = "four-eyes-kept"
    title = Text(
        en="An erasure needs the approval of a second person",
        de="Eine Löschung braucht die Freigabe durch eine zweite Person",
    )
    severity = Severity.HIGH
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER,)
    cites = ("gdpr:32(1)(b)", "iso-27001:A.5.3", "nist-800-53:AC-5", "soc2:CC8.1")
    remedy = Text(
        en="Set [mlsec] four_eyes to erasure or all.",
        de="Setzen Sie [mlsec] four_eyes auf erasure oder all.",
    )
    example = Example(holds="four_eyes = erasure", fails="four_eyes = none")

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        which = facts.kept_rules.four_eyes
        reason = FourEyesFor(which)
        yield facts.deployment, failed(reason) if which == "none" else passed(reason)
