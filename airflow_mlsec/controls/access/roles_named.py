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

_DECIDING = ("approver", "reviewer", "admin")


class EveryoneHas(Reason, en="{entries}", de="{entries}"):
    """Entries of the role mapping that let everybody decide."""

    entries: tuple[str, ...]


class RolesGiven(Reason, en="{entries:entry|entries}", de="{entries:Eintrag|Einträge}"):
    """Deciding roles are given to named users and roles."""

    entries: int


class RolesNamed(RegisterControl):
    """If everybody may approve, an approval says nothing."""

    id = "roles-named"
    title = Text(
        en="Nobody may approve, review or administer only because they can open a command line",
        de="Niemand darf nur deshalb freigeben, prüfen oder verwalten, weil er eine Kommandozeile öffnen kann",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER,)
    cites = (
        "gdpr:32(4)",
        "gdpr:25(2)",
        "iso-27001:A.5.15",
        "iso-27001:A.8.2",
        "nist-800-53:AC-6",
        "nist-privacy:PR.AC-P",
        "soc2:CC6.3",
    )
    remedy = Text(
        en="Name users or Airflow roles instead of a star in [mlsec] role_mapping (docs/how-to/say-who-may-what.md).",
        de="Nennen Sie in [mlsec] role_mapping Benutzer oder Airflow-Rollen statt eines Sterns (docs/how-to/say-who-may-what.md).",
    )
    example = Example(
        holds="Privacy=approver, os:dora=admin",
        fails="os:*=admin, as in a first installation",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        mapping = facts.kept_rules.role_mapping
        open_to_all = tuple(
            entry
            for entry in mapping
            if entry.rpartition("=")[0].endswith("*") and entry.rpartition("=")[2] in _DECIDING
        )
        yield facts.deployment, failed(EveryoneHas(open_to_all)) if open_to_all else passed(RolesGiven(len(mapping)))  # fmt: skip
