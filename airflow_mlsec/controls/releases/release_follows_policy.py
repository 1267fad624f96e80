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


class PolicyChanged(
    Reason,
    en="the policy of its source has changed since it was made",
    de="die Richtlinie ihrer Quelle hat sich seither geändert",
):
    """The release was made under an earlier policy."""


class SourceNotKnown(
    Reason,
    en="the register no longer knows a policy of its source",
    de="das Register kennt keine Richtlinie ihrer Quelle mehr",
):
    """There is nothing to compare with."""


class FollowsPolicy(Reason, en="policy {policy}", de="Richtlinie {policy}"):
    """The release was made under the policy in force."""

    policy: str


class ReleaseFollowsPolicy(RegisterControl):
    """What was agreed later does not hold for a release that was made before."""

    id = "release-follows-policy"
    title = Text(
        en="Every release was made under the policy that its source has now",
        de="Jede Freigabe entstand unter der Richtlinie, die ihre Quelle jetzt hat",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE, Reads.POLICY)
    cites = ("gdpr:5(2)", "gdpr:24(1)", "gdpr:25(1)", "nist-privacy:CT.DM-P")
    remedy = Text(
        en="Make the release again under the policy in force.",
        de="Erstellen Sie die Freigabe unter der geltenden Richtlinie neu.",
    )
    example = Example(
        holds="the policy was last changed before the release was made",
        fails="the policy now asks for k = 10, and the release was made with k = 5",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            source = facts.source_of(statement)
            if source is None or source.policy_digest is None:
                answer = unknown(SourceNotKnown())
            elif source.policy_digest != statement.policy:
                answer = failed(PolicyChanged())
            else:
                answer = passed(FollowsPolicy(statement.policy[:12]))
            yield name, answer
