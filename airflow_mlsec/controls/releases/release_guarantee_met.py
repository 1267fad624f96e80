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
from airflow_mlsec.controls.reasons import (
    NoPolicy,
)
from airflow_mlsec.ledger import AssetKind, Reason


class TooFewAlike(
    Reason,
    en="k = {found}, and the policy now asks for {wanted}",
    de="k = {found}, und die Richtlinie verlangt jetzt {wanted}",
):
    """Fewer people are alike than the policy asks for."""

    found: int
    wanted: int


class EnoughAlike(Reason, en="k = {found}, at least {wanted} asked for", de="k = {found}, mindestens {wanted} verlangt"):  # fmt: skip
    """As many people are alike as the policy asks for."""

    found: int
    wanted: int


class NotMeasured(
    Reason,
    en="its evidence states no k, and the policy now asks for {wanted}",
    de="ihr Nachweis nennt kein k, und die Richtlinie verlangt jetzt {wanted}",
):
    """Nobody has measured it."""

    wanted: int


class NoGuaranteeAsked(
    Reason,
    en="the policy of its source asks for no k-anonymity",
    de="die Richtlinie ihrer Quelle verlangt keine k-Anonymität",
):
    """There is no number to compare with."""


class ReleaseGuaranteeMet(RegisterControl):
    """The guarantee that was signed, against the policy as it is now; `guarantee-holds` measures it in the data."""

    id = "release-guarantee-met"
    title = Text(
        en="Every release has the k-anonymity that the policy of its source asks for now",
        de="Jede Freigabe hat die k-Anonymität, die die Richtlinie ihrer Quelle jetzt verlangt",
    )
    severity = Severity.CRITICAL
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE, Reads.POLICY)
    cites = (
        "gdpr:25(1)",
        "gdpr:32(1)(a)",
        "gdpr-recital:26",
        "iso-27001:A.8.11",
        "nist-privacy:CT.DP-P",
        "nist-ai-rmf:MEASURE 2.10",
    )
    remedy = Text(
        en="Make the release again; the policy asks for more than when it was made.",
        de="Erstellen Sie die Freigabe neu; die Richtlinie verlangt mehr als zu ihrer Entstehung.",
    )
    example = Example(
        holds="the release has k = 7, the policy asks for 5",
        fails="the release has k = 5, the policy now asks for 10",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            source = facts.source_of(statement)
            wanted = (
                ((source.policy or {}).get("privacy") or {}).get("k_anonymity") if source else None
            )
            found = statement.numbers.k_anonymity
            if source is None or source.policy is None:
                answer = unknown(NoPolicy())
            elif wanted is None:
                answer = not_applicable(NoGuaranteeAsked())
            elif found is None:
                answer = unknown(NotMeasured(wanted))
            elif found < wanted:
                answer = failed(TooFewAlike(found, wanted))
            else:
                answer = passed(EnoughAlike(found, wanted))
            yield name, answer
