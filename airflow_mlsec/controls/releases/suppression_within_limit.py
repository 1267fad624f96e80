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
from airflow_mlsec.controls.reasons import (
    NoPolicy,
)
from airflow_mlsec.ledger import AssetKind, Reason


class TooManySuppressed(
    Reason,
    en="{suppressed} of {rows:row was|rows were} left out, and the policy allows {percent} %",
    de="{suppressed} von {rows:Zeile|Zeilen} wurden weggelassen, und die Richtlinie erlaubt {percent} %",
):
    """The release leaves out more than was agreed."""

    suppressed: int
    rows: int
    percent: str


class SuppressedWithin(
    Reason,
    en="{suppressed} of {rows:row|rows} left out, {percent} % allowed",
    de="{suppressed} von {rows:Zeile|Zeilen} weggelassen, {percent} % erlaubt",
):
    """The release leaves out no more than was agreed."""

    suppressed: int
    rows: int
    percent: str


class SuppressionWithinLimit(RegisterControl):
    """Leaving people out makes what a model learns wrong for those who are like them."""

    id = "suppression-within-limit"
    title = Text(
        en="No release leaves out more rows than the policy of its source allows now",
        de="Keine Freigabe lässt mehr Zeilen weg, als die Richtlinie ihrer Quelle jetzt erlaubt",
    )
    severity = Severity.LOW
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE, Reads.POLICY)
    cites = ("gdpr:5(1)(d)",)
    remedy = Text(
        en="Give the hierarchies more levels, or raise `privacy.suppression_limit` knowingly.",
        de="Geben Sie den Hierarchien mehr Stufen, oder erhöhen Sie `privacy.suppression_limit` bewusst.",
    )
    example = Example(
        holds="1 % of the rows were left out, 2 % are allowed",
        fails="5 % were left out, and the limit is 2 % since last week",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            source, numbers = facts.source_of(statement), statement.numbers
            if source is None or source.policy is None:
                answer = unknown(NoPolicy())
            else:
                limit = float((source.policy.get("privacy") or {}).get("suppression_limit") or 0)
                given = (numbers.suppressed, numbers.rows, f"{limit * 100:g}")
                # Not by the last digit of a float: 29 of 100 is 0.29.
                too_many = numbers.suppressed > limit * numbers.rows + 1e-9
                answer = (
                    failed(TooManySuppressed(*given))
                    if too_many
                    else passed(SuppressedWithin(*given))
                )
            yield name, answer
