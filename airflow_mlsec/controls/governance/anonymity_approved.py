from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    not_applicable,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class OnlyClaimed(
    Reason,
    en="'{by}' is said to claim it, and not two people have approved that",
    de="„{by}“ soll es behaupten, und keine zwei Personen haben das genehmigt",
):
    """A name in a file is nobody's word."""

    by: str


class NoClaim(
    Reason,
    en="the policy does not claim that releases are anonymous",
    de="die Richtlinie behauptet nicht, dass Freigaben anonym sind",
):
    """Releases stay personal data."""


class ClaimApproved(Reason, en="approved by {by}", de="genehmigt durch {by}"):
    """People stand for it."""

    by: tuple[str, ...]


class AnonymityApproved(RegisterControl):
    """That a release is anonymous ends every right that people have about it."""

    id = "anonymity-approved"
    title = Text(
        en="Who claims that releases are anonymous has approved that, and so has another person",
        de="Wer behauptet, dass Freigaben anonym sind, hat das genehmigt, und eine weitere Person auch",
    )
    severity = Severity.HIGH
    policy_key = "anonymity"
    asset = AssetKind.DATASET
    reads = (Reads.LEDGER, Reads.POLICY)
    cites = ("gdpr:4(1)", "gdpr-recital:26", "gdpr:5(2)")
    remedy = Text(
        en="Let one of the team that owns the data and another person approve the policy: `mlsec policy approve`.",
        de="Lassen Sie die Richtlinie von einer Person des Teams, dem die Daten gehören, und einer weiteren genehmigen: `mlsec policy "
        "approve`.",
    )
    example = Example(
        holds="the data protection officer and the team have approved the policy",
        fails="anonymity: {claimed_by: dpo}, which anybody can write",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            claim = (dataset.policy or {}).get("anonymity")
            if not claim:
                yield str(dataset.name), not_applicable(NoClaim())
                continue
            by = facts.approved_by(dataset)
            answer = passed(ClaimApproved(by)) if by else failed(OnlyClaimed(claim["claimed_by"]))
            yield str(dataset.name), answer
