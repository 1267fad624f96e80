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


class RootBesideRing(
    Reason,
    en="the root key is a file beside the key ring",
    de="der Wurzelschlüssel ist eine Datei neben dem Schlüsselbund",
):
    """Who copies the folder has the keys."""


class RootKept(Reason, en="{where}", de="{where}"):
    """Where the root key is kept, by the name of the setting."""

    where: str


class RootKeyApart(RegisterControl):
    """Data that was encrypted counts as lost only together with its key."""

    id = "root-key-apart"
    title = Text(
        en="The root key is kept apart from the key ring",
        de="Der Wurzelschlüssel wird getrennt vom Schlüsselbund aufbewahrt",
    )
    severity = Severity.HIGH
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.SETTINGS,)
    cites = ("gdpr:32(1)(b)", "gdpr:34(3)(a)", "iso-27001:A.8.24", "nist-800-53:SC-12")
    remedy = Text(
        en="Move it to a key service, a mounted secret or a secrets backend (docs/how-to/deploy.md).",
        de="Verlegen Sie ihn in einen Schlüsseldienst, ein eingehängtes Geheimnis oder ein Secrets-Backend (docs/how-to/deploy.md).",
    )
    example = Example(
        holds="the root key is wrapped by a key of AWS KMS",
        fails="the root key is in the state folder, as in a first installation",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        kept = next(
            (
                n
                for n in ("root_key_service", "root_key_file", "root_key")
                if getattr(facts.settings, n)
            ),
            None,
        )
        yield facts.deployment, passed(RootKept(kept)) if kept else failed(RootBesideRing())
