from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.controls import (
    Answer,
    Example,
    Facts,
    Reads,
    RegisterControl,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.documents._versions import Document, documents, is_in_force
from airflow_mlsec.ledger import AssetKind, Reason

_KIND = "records-of-processing"
# The asset where no controller is stated at all.
_NOBODY = "controller not stated"


class NeverApproved(Reason, en="no version is approved", de="keine Fassung ist genehmigt"):
    """Nobody stands for the document."""


class DeclaredSince(
    Reason,
    en="version {version}, approved on {day}: policies, the organization's file or the law have changed since",
    de="Fassung {version}, genehmigt am {day}: Richtlinien, Datei der Organisation oder Recht wurden seither geändert",
):
    """The document may say what is no longer so."""

    version: int
    day: str


class TooLongAgo(
    Reason,
    en="version {version} was approved {days:day|days} ago; at most {most} are accepted",
    de="Fassung {version} wurde vor {days:Tag|Tagen} genehmigt; höchstens {most} sind zulässig",
):
    """Nobody has looked at the document for long."""

    version: int
    days: int
    most: int


class NotAsApproved(
    Reason,
    en="version {version} is not what a trusted key has signed",
    de="Fassung {version} ist nicht das, was ein vertrauter Schlüssel signiert hat",
):
    """Somebody has changed the document, or the keys are not at hand."""

    version: int


class VersionApproved(
    Reason,
    en="version {version}, approved on {day}; {gaps} not stated",
    de="Fassung {version}, genehmigt am {day}; {gaps} nicht angegeben",
):
    """Somebody stands for the document."""

    version: int
    day: str
    gaps: int


class RecordsApproved(RegisterControl):
    """A record that nobody has looked at since the policies changed shows an authority what is no longer so."""

    id = "records-approved"
    family = "governance"
    title = Text(
        en="The records of processing of every controller are approved and say what is declared now",
        de="Das Verzeichnis von Verarbeitungstätigkeiten jedes Verantwortlichen ist genehmigt und entspricht den heutigen Angaben",
    )
    severity = Severity.HIGH
    asset = AssetKind.PARTY
    reads = (Reads.LEDGER, Reads.EVIDENCE, Reads.POLICY, Reads.ORGANIZATION)
    cites = ("gdpr:30(1)", "gdpr:5(2)", "iso-27701:A.1.2.9")
    parameters: ClassVar = {"days": 365}
    remedy = Text(
        en="Run `mlsec document draft records-of-processing`, read it, and let somebody else approve it: `mlsec document approve`.",
        de="Führen Sie `mlsec document draft records-of-processing` aus, lesen Sie das Ergebnis, und lassen Sie es von jemand anderem "
        "genehmigen: `mlsec document approve`.",
    )
    example = Example(
        holds="version 4, approved in March, and no policy has changed since",
        fails="a dataset was added in April",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        named = [c.name for c in facts.organization.controllers]
        named += [str(d.policy["controller"]) for d in facts.sources if d.policy and d.policy.get("controller")]  # fmt: skip
        kept = documents(facts.register, _KIND)
        most = facts.number(self, "days")
        if not named and facts.sources:
            yield _NOBODY, failed(NeverApproved())
        for name in dict.fromkeys(named):
            yield name, of_newest(facts, [d for d in kept if d.about == name], most)


def of_newest(facts: Facts, versions: list[Document], most: int) -> Answer:
    """Whether the newest approved version of a document is signed, recent, and made from what is declared now."""
    newest = next((v for v in versions if v.is_approved), None)
    if newest is None:
        return failed(NeverApproved())
    if not is_in_force(facts.register, newest):
        return unknown(NotAsApproved(newest.version))
    day = str(newest.approved_at)[:10]
    if newest.declared != facts.declared:
        return failed(DeclaredSince(newest.version, day))
    days = facts.days_since(str(newest.approved_at))
    if days > most:
        return failed(TooLongAgo(newest.version, days, most))
    return passed(VersionApproved(newest.version, day, newest.gaps))
