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
    unknown,
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


class RootKeyMissing(Reason, en="there is no file {path}", de="es gibt keine Datei {path}"):
    """The setting names a file that is not there."""

    path: str


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
        file = facts.settings.root_key_file
        beside = (facts.settings.state_folder, facts.settings.key_ring)
        if kept is None or (
            file and any(file.resolve().is_relative_to(f.resolve()) for f in beside)
        ):
            answer = failed(RootBesideRing())
        elif kept == "root_key_file" and file is not None and not file.exists():
            answer = unknown(RootKeyMissing(str(file)))
        else:
            answer = passed(RootKept(kept))
        yield facts.deployment, answer
