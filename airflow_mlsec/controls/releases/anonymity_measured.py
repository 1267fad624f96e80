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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class ClaimedOnly(
    Reason,
    en="{by} claims that it is anonymous, and nobody has measured it",
    de="laut {by} ist sie anonym, und niemand hat es gemessen",
):
    """There is no number behind the claim."""

    by: str


class ClaimedAndMeasured(
    Reason, en="claimed by {by}, k = {found}", de="behauptet von {by}, k = {found}"
):
    """The claim has a number behind it."""

    by: str
    found: int


class NothingClaimed(
    Reason, en="nobody claims that it is anonymous", de="niemand behauptet, dass sie anonym ist"
):
    """There is no claim to be measured."""


class AnonymityMeasured(RegisterControl):
    """A claim of anonymity takes the data out of the law; it needs more than a sentence."""

    id = "anonymity-measured"
    title = Text(
        en="Nothing is called anonymous whose risk nobody has measured",
        de="Nichts gilt als anonym, dessen Risiko niemand gemessen hat",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE,)
    cites = ("gdpr:4(1)", "gdpr-recital:26", "ccpa:1798.140(m)")
    remedy = Text(
        en="Ask for k-anonymity in the policy, or take the claim `anonymity` out of it.",
        de="Verlangen Sie in der Richtlinie k-Anonymität, oder nehmen Sie die Behauptung `anonymity` heraus.",
    )
    example = Example(
        holds="anonymity is claimed, and the release has k = 11",
        fails="anonymity is claimed for a table of which nobody counted anything",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            if statement.anonymity is None:
                yield name, not_applicable(NothingClaimed())
                continue
            by, found = statement.anonymity.claimed_by, statement.numbers.k_anonymity
            answer = (
                failed(ClaimedOnly(by)) if found is None else passed(ClaimedAndMeasured(by, found))
            )
            yield name, answer
