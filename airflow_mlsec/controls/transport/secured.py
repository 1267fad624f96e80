from __future__ import annotations

from datetime import date, timedelta

from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls.reasons import (
    CheckedLongAgo,
    CheckFailedOn,
    ConnectionsChecked,
    NeverChecked,
    NoConnection,
    NoRegister,
    SettingsOnly,
)
from airflow_mlsec.datasets import connection_of
from airflow_mlsec.ledger import Asset, AssetKind, Outcome, latest_finding
from airflow_mlsec.transport import ENCRYPTED_IN_TRANSIT

# A check requires that certificates are valid for two more weeks; a month-old check says little.
_WITHIN = timedelta(days=30)
_REMEDY = "run TransportSecurityCheckOperator or `mlsec transport check --record`"


class _Secured(DatasetControl, abstract=True):
    """GDPR Art. 32(1)(a): the latest check of every connection that reaches the dataset and its source."""

    severity = Severity.HIGH
    reads = (Reads.CONNECTIONS,)
    cites = (
        "gdpr:32(1)(a)",
        "iso-27001:A.8.24",
        "nist-800-53:SC-8",
        "soc2:CC6.7",
        "ccpa-audit:7123(c)(2)",
    )
    remedy = Text(
        en="Run TransportSecurityCheckOperator, or `mlsec transport check --record`, and mend what it names.",
        de="Lassen Sie TransportSecurityCheckOperator oder `mlsec transport check --record` laufen, und beheben Sie, was genannt wird.",
    )
    example = Example(
        holds="the database was reached over verified TLS last week",
        fails="the connection allows a server without a certificate",
    )

    def answer(self, question: DatasetQuestion) -> Answer:
        reached = [d for d in (question.dataset, question.raw) if d is not None]
        names = sorted({name for d in reached if (name := connection_of(d.uri)) is not None})
        if not names:
            return passed(NoConnection())
        if question.register is None:
            return unknown(NoRegister())
        answers = [_of_connection(question, name) for name in names]
        bad = [answer for answer in answers if not answer.passed]
        if not bad:
            return passed(ConnectionsChecked(tuple(names)))
        worst = failed if any(a.outcome is Outcome.FAIL for a in bad) else unknown
        return worst(*(reason for answer in bad for reason in answer.reasons))


class SourceSecured(_Secured):
    """For raw data."""

    id = "source-transport-secured"
    title = Text(
        en="The connection that reaches the dataset passed a check of its encryption in transit within 30 days",
        de="Die Verbindung zum Datenbestand hat innerhalb von 30 Tagen eine Prüfung ihrer Verschlüsselung bestanden",
    )
    stage = "source"


class ReleaseSecured(_Secured):
    """For a release: it is only as safe as the connection that delivered its source."""

    id = "release-transport-secured"
    title = Text(
        en="The connections that reach the release and its source passed a check of their encryption in transit within 30 days",
        de="Die Verbindungen zur Freigabe und zu ihrer Quelle haben innerhalb von 30 Tagen eine Prüfung ihrer Verschlüsselung bestanden",
    )
    stage = "release"


def _of_connection(question: DatasetQuestion, name: str) -> Answer:
    assert question.register is not None
    asset = Asset(AssetKind.CONNECTION, name)
    found = question.register.read(lambda c: latest_finding(c, asset, ENCRYPTED_IN_TRANSIT))
    if found is None:
        return unknown(NeverChecked(name, _REMEDY))
    day = date.fromisoformat(found.at[:10])
    if not found.outcome.holds:
        bad = tuple(str(check) for check in found.evidence.get("not_passed", ()))
        answer = CheckFailedOn(name, str(day), bad)
        return failed(answer) if found.outcome is Outcome.FAIL else unknown(answer)
    if not found.evidence.get("live"):
        return unknown(SettingsOnly(name, _REMEDY))
    if question.on - day > _WITHIN:
        return unknown(CheckedLongAgo(name, str(day), _REMEDY))
    return passed(ConnectionsChecked((name,)))
