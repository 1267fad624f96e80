"""A control that looks at all controls: it stands above them, and is found as those of other packages are."""

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
from airflow_mlsec.controls._law_changes import accepted_law, law_changes, law_in_force
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class NobodyAccepted(
    Reason,
    en="nobody has accepted the clocks, controls and letters that are in force here",
    de="niemand hat die Fristen, Kontrollen und Briefe angenommen, die hier gelten",
):
    """Nobody has looked."""


class ChangedSince(
    Reason,
    en="{changes:change|changes} since it was accepted on {day}, such as {such}",
    de="{changes:Änderung|Änderungen} seit der Annahme am {day}, zum Beispiel {such}",
):
    """Deadlines, rules or letters are otherwise than somebody thinks."""

    changes: int
    day: str
    such: str


class AcceptedBy(Reason, en="accepted on {day} by {by}", de="angenommen am {day} durch {by}"):
    """An administrator has seen what is in force."""

    day: str
    by: str


class LawSeen(RegisterControl):
    """An upgrade that shortens a deadline is seen before it is missed."""

    id = "law-accepted"
    family = "governance"
    title = Text(
        en="An administrator has accepted the clocks, controls and letters that are in force here",
        de="Die Verwaltung hat die Fristen, Kontrollen und Briefe angenommen, die hier gelten",
    )
    severity = Severity.LOW
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER, Reads.SETTINGS)
    cites = ("gdpr:24(1)", "nist-privacy:GV.MT-P")
    remedy = Text(
        en="Look at what changed (`mlsec controls law-changes`), and accept it: `mlsec controls accept-law`.",
        de="Sehen Sie sich die Änderungen an (`mlsec controls law-changes`), und nehmen Sie sie an: `mlsec controls accept-law`.",
    )
    example = Example(
        holds="accepted after the last upgrade", fails="upgraded, and nobody has looked"
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        last, before = accepted_law(facts.register)
        if last is None:
            yield facts.deployment, failed(NobodyAccepted())
            return
        found = law_changes(before, law_in_force())
        if found:
            such = f"{found[0].part}: {found[0].name}"
            yield facts.deployment, failed(ChangedSince(len(found), last.at[:10], such))
        else:
            yield facts.deployment, passed(AcceptedBy(last.at[:10], last.by))
