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
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class LawChecked(Reason, en="version {version}, last checked on {day}", de="Version {version}, zuletzt geprüft am {day}"):  # fmt: skip
    """How old the catalogue is."""

    version: int
    day: str


class LawCurrent(RegisterControl):
    """Controls, clocks and letters follow the law as somebody last read it."""

    id = "law-current"
    title = Text(
        en="The law catalogue was compared with the law in force in the last 180 days",
        de="Der Rechtskatalog wurde in den letzten 180 Tagen mit dem geltenden Recht verglichen",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.SETTINGS,)
    cites = ("gdpr:24(1)", "nist-privacy:GV.MT-P")
    remedy = Text(
        en="Upgrade the package; its changelog says what changed in the law.",
        de="Aktualisieren Sie das Paket; sein Änderungsverzeichnis sagt, was sich im Recht geändert hat.",
    )
    example = Example(
        holds="last checked in October",
        fails="last checked a year ago",
    )
    parameters: ClassVar = {"days": 180}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        catalogue = law()
        reason = LawChecked(catalogue.version, str(catalogue.checked))
        late = (facts.on - catalogue.checked).days > facts.number(self, "days")
        yield facts.deployment, failed(reason) if late else passed(reason)
