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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls.reasons import (
    CheckedLongAgo,
    CheckFailedOn,
    ConnectionsChecked,
    NeverChecked,
    SettingsOnly,
)
from airflow_mlsec.datasets import connection_of
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.ledger import AssetKind, Outcome
from airflow_mlsec.lineage import DatasetFacts
from airflow_mlsec.transport import ENCRYPTED_IN_TRANSIT

_HOW = "mlsec transport check --record"


class ConnectionsEncrypted(RegisterControl):
    """Every connection that reaches personal data, and every other one that was ever checked."""

    id = "connections-encrypted"
    title = Text(
        en="Every connection that reaches personal data passed a check of its encryption in the last month",
        de="Jede Verbindung zu personenbezogenen Daten hat im letzten Monat eine Prüfung ihrer Verschlüsselung bestanden",
    )
    severity = Severity.HIGH
    asset = AssetKind.CONNECTION
    reads = (Reads.CONNECTIONS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(a)",
        "iso-27001:A.8.24",
        "nist-800-53:SC-8",
        "nist-privacy:PR.DS-P",
        "soc2:CC6.7",
        "ccpa-audit:7123(c)(2)",
    )
    remedy = Text(
        en="Run TransportSecurityCheckOperator, or `mlsec transport check --record`, and mend what it names.",
        de="Lassen Sie TransportSecurityCheckOperator oder `mlsec transport check --record` laufen, und beheben Sie, was genannt wird.",
    )
    example = Example(
        holds="the warehouse was reached over verified TLS last week",
        fails="the warehouse accepts connections without TLS",
    )
    parameters: ClassVar = {"days": 30}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        names = {a.name for a, c in facts.findings if c == ENCRYPTED_IN_TRANSIT}
        names |= {n for d in facts.datasets if d.is_personal and (n := _connection(d))}
        for name in sorted(names):
            found = facts.finding(AssetKind.CONNECTION, name, ENCRYPTED_IN_TRANSIT)
            if found is None:
                answer = unknown(NeverChecked(name, _HOW))
            elif not found.outcome.holds:
                bad = tuple(str(check) for check in found.evidence.get("not_passed", ()))
                reason = CheckFailedOn(name, found.at[:10], bad)
                answer = failed(reason) if found.outcome is Outcome.FAIL else unknown(reason)
            elif not found.evidence.get("live"):
                answer = unknown(SettingsOnly(name, _HOW))
            elif facts.days_since(found.at) > facts.number(self, "days"):
                answer = unknown(CheckedLongAgo(name, found.at[:10], _HOW))
            else:
                answer = passed(ConnectionsChecked((name,)))
            yield name, answer


def _connection(dataset: DatasetFacts) -> str | None:
    try:
        return None if dataset.uri is None else connection_of(dataset.uri)
    except MlsecError:
        return None  # a place of which only another program knows
