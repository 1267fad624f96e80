from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

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


class KeyLimits(
    Reason,
    en="namespaces: {namespaces}; until {until}",
    de="Namensräume: {namespaces}; bis {until}",
):
    """What the key may be used for."""

    namespaces: tuple[str, ...]
    until: str


class KeyUnlimited(Reason, en="no limit of {what}", de="keine Grenze für {what}"):
    """The key may be used for more than anybody needs."""

    what: tuple[str, ...]


class KeyPast(Reason, en="it expired on {day} and was not revoked", de="er ist am {day} abgelaufen und nicht widerrufen"):  # fmt: skip
    """The key does nothing any more, and is still there."""

    day: str


class ApiKeyLimited(RegisterControl):
    """A program's key that was leaked should open little, and not for long."""

    id = "api-key-limited"
    title = Text(
        en="Every key with which a program sends events is limited to namespaces and expires",
        de="Jeder Schlüssel, mit dem ein Programm Ereignisse sendet, ist auf Namensräume begrenzt und läuft ab",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.KEY
    reads = (Reads.LEDGER,)
    cites = (
        "gdpr:25(2)",
        "gdpr:32(1)(b)",
        "iso-27001:A.5.15",
        "nist-800-53:AC-6",
        "soc2:CC6.1",
        "ccpa-audit:7123(c)(3)",
    )
    remedy = Text(
        en="Create another with `mlsec lineage api-key NAME --namespace … --expires …`, and revoke this one.",
        de="Erzeugen Sie mit `mlsec lineage api-key NAME --namespace … --expires …` einen anderen, und widerrufen Sie diesen.",
    )
    example = Example(
        holds="spark-cluster may send about s3://lake*, until June",
        fails="spark-cluster may send about anything, for ever",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for key in facts.api_keys:
            missing = [("namespaces", key.namespaces), ("expiry", key.expires_at)]
            lacking = tuple(what for what, limit in missing if limit is None)
            if lacking:
                answer = failed(KeyUnlimited(lacking))
            elif datetime.fromisoformat(str(key.expires_at)) <= facts.now:
                answer = failed(KeyPast(str(key.expires_at)[:10]))
            else:
                answer = passed(KeyLimits(key.namespaces or (), str(key.expires_at)[:10]))
            yield f"api:{key.name}", answer
