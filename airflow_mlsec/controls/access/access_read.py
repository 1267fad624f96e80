from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.access import is_recent
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


class SnapshotTaken(
    Reason,
    en="read on {day}: {accounts:account|accounts}, {entitlements:entitlement|entitlements}",
    de="gelesen am {day}: {accounts:Konto|Konten}, {entitlements:Recht|Rechte}",
):
    """The newest snapshot of the system."""

    day: str
    accounts: int
    entitlements: int


class NotReadCompletely(Reason, en="{parts:part|parts} could not be read", de="{parts:Teil|Teile} nicht lesbar"):  # fmt: skip
    """Of what was not read nothing follows."""

    parts: int


class NeverRead(Reason, en="who can do what there was never read, or the reading is not believed", de="wer dort was darf, wurde nie gelesen, oder die Lesung ist nicht glaubwürdig"):  # fmt: skip
    """There is no snapshot, or it is not what was signed."""


class AccessRead(RegisterControl):
    """What nobody looks at, nobody reviews."""

    id = "access-read"
    title = Text(
        en="Who may do what was read in the last 30 days, completely, from every system with personal data",
        de="Wer was darf, wurde in den letzten 30 Tagen vollständig aus jedem System mit personenbezogenen Daten gelesen",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.LOCATION
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = ("gdpr:32(1)(d)", "iso-27001:A.5.18", "nist-800-53:AC-2", "soc2:CC6.2")
    remedy = Text(
        en="Run `mlsec access snapshot` for the system, every day if you can, with an account that may read everything.",
        de="Führen Sie `mlsec access snapshot` für das System aus, möglichst täglich, mit einem Konto, das alles lesen darf.",
    )
    example = Example(
        holds="the database was read this morning",
        fails="the database was last read a year ago, or the account may not see some grants",
    )
    parameters: ClassVar = {"days": 30}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for source, system in facts.access.systems.items():
            snapshot = system.snapshot
            if snapshot is None:
                yield source, failed(NeverRead())
                continue
            reason = SnapshotTaken(snapshot.taken_at[:10], snapshot.accounts, snapshot.entitlements)
            if not is_recent(snapshot, facts.on, facts.number(self, "days")):
                yield source, failed(reason)
            elif snapshot.unread:
                yield source, failed(NotReadCompletely(len(snapshot.unread)), reason)
            else:
                yield source, passed(reason)
