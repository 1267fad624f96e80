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


class BoundPast(
    Reason,
    en="policy {policy} is in the register, and nothing says that it was applied in place of {before}",
    de="Richtlinie {policy} steht im Register, und nichts sagt, dass sie anstelle von {before} angewandt wurde",
):
    """The register was changed past the rules."""

    policy: str
    before: str


class NotFollowed(
    Reason,
    en="the policy was applied before changes of policies were followed",
    de="die Richtlinie wurde angewandt, bevor Änderungen von Richtlinien verfolgt wurden",
):
    """Nobody knows whether it protects less than one before it."""


class ByPattern(
    Reason,
    en="declared by a policy for several datasets, and not worked on yet",
    de="durch eine Richtlinie für mehrere Datenbestände beschrieben und noch nicht bearbeitet",
):
    """No policy was applied to it."""


class LooserWithout(
    Reason,
    en="policy {policy} protects less ({looser}), and not two people have approved it",
    de="Richtlinie {policy} schützt weniger ({looser}), und keine zwei Personen haben sie genehmigt",
):
    """The rules asked for no second person then."""

    policy: str
    looser: str


class Followed(Reason, en="policy {policy}", de="Richtlinie {policy}"):
    """It protects no less than the one before, or people stand for that it does."""

    policy: str


class PolicyChangeApproved(RegisterControl):
    """Whoever may write a policy file must not be able to lower a guarantee alone."""

    id = "policy-change-approved"
    title = Text(
        en="A policy that protects less than the one before it was approved by its owner and another person",
        de="Eine Richtlinie, die weniger schützt als die vorige, wurde von ihrem Eigentümer und einer weiteren Person genehmigt",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LEDGER, Reads.POLICY)
    cites = ("gdpr:24(1)", "gdpr:25(1)", "iso-27001:A.5.3", "soc2:CC8.1")
    remedy = Text(
        en="Let one of the team that owns the data and another person approve it: `mlsec policy approve`; or restore the policy.",
        de="Lassen Sie die Richtlinie von einer Person des Teams, dem die Daten gehören, und einer weiteren genehmigen: `mlsec policy "
        "approve`; oder stellen Sie die vorige wieder her.",
    )
    example = Example(
        holds="k from 5 to 3, approved by the team and the data protection officer",
        fails="k from 5 to 3, by whoever could write the file",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            bound = facts.bound.get(str(dataset.name))
            digest = dataset.policy_digest
            if bound is None:
                answer = not_applicable(ByPattern()) if digest is None else unknown(NotFollowed())
            elif bound.policy != digest or not bound.unbroken:
                answer = failed(BoundPast((digest or "none")[:12], bound.policy[:12]))
            elif bound.looser and not bound.approved:
                answer = failed(LooserWithout(digest[:12], ", ".join(bound.looser)))
            else:
                answer = passed(Followed(digest[:12]))
            yield str(dataset.name), answer
