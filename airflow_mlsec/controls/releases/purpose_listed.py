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


class NoPurposeSaid(
    Reason,
    en="nobody has said what it was made for",
    de="niemand hat gesagt, wofür sie entstand",
):
    """The evidence names no purpose."""


class OtherPurpose(
    Reason,
    en="it was made for '{purpose}', which the policy of its source no longer lists",
    de="sie entstand für „{purpose}“, was die Richtlinie ihrer Quelle nicht mehr aufführt",
):
    """The data may not be used for this any more."""

    purpose: str


class ForPurpose(Reason, en="for '{purpose}'", de="für „{purpose}“"):
    """What the release was made for."""

    purpose: str


class PurposeListed(RegisterControl):
    """Data that was collected for one purpose is not used for another."""

    id = "purpose-listed"
    title = Text(
        en="Every release was made for a purpose that the policy of its source lists now",
        de="Jede Freigabe entstand für einen Zweck, den die Richtlinie ihrer Quelle jetzt aufführt",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE, Reads.POLICY)
    cites = ("gdpr:5(1)(b)", "ccpa:1798.100(c)", "iso-27701:A.1.2.2", "nist-privacy:CT.DM-P")
    remedy = Text(
        en="Give AnonymizeOperator its `purpose`, and make the release again.",
        de="Geben Sie AnonymizeOperator seinen `purpose`, und erstellen Sie die Freigabe neu.",
    )
    example = Example(
        holds="made for churn model, which the policy lists",
        fails="made for churn model, and since last week the policy lists billing only",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            source = facts.source_of(statement)
            if source is None or source.policy is None:
                answer = unknown(NoPolicy())
            elif statement.purpose is None:
                answer = unknown(NoPurposeSaid())
            else:
                listed = source.policy.get("purposes") or ()
                known = {t for p in listed for t in ([p] if isinstance(p, str) else p.values())}
                fits = statement.purpose in known
                answer = (
                    passed(ForPurpose(statement.purpose))
                    if fits
                    else failed(OtherPurpose(statement.purpose))
                )
            yield name, answer
