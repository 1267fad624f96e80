from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.actors import keys_of
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


class SamePerson(Reason, en="{who} opened or verified it, and approved it", de="{who} hat sie eröffnet oder geprüft und freigegeben"):  # fmt: skip
    """Two pairs of eyes were one."""

    who: str


class NotApprovedAtAll(Reason, en="nobody approved it", de="niemand hat sie freigegeben"):
    """It was carried out without approval."""


class ApprovedBy(Reason, en="by {who}", de="durch {who}"):
    """Who approved it."""

    who: str


class ApprovedByAnother(RegisterControl):
    """The rule in force is `four-eyes-kept`; this is what happened."""

    id = "approved-by-another"
    title = Text(
        en="Every erasure that was carried out was approved by somebody who did not open or verify it",
        de="Jede ausgeführte Löschung wurde von jemandem freigegeben, der sie weder eröffnet noch geprüft hat",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:32(1)(b)", "iso-27001:A.5.3", "nist-800-53:AC-5", "soc2:CC8.1")
    remedy = Text(
        en="Set [mlsec] four_eyes to erasure, and give operator and approver to different people.",
        de="Setzen Sie [mlsec] four_eyes auf erasure, und geben Sie operator und approver verschiedenen Personen.",
    )
    example = Example(
        holds="emil opened and verified it, dora approved it",
        fails="emil opened, verified and approved it",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            if request.kind not in ("erasure", "delete") or request.status != "closed":
                continue
            if request.approved_by is None:
                answer = failed(NotApprovedAtAll())
            else:
                others = {
                    k
                    for who in (request.opened_by, request.verified_by)
                    if who
                    for k in keys_of(who)
                }
                same = others & {*keys_of(request.approved_by)}
                answer = (
                    failed(SamePerson(request.approved_by))
                    if same
                    else passed(ApprovedBy(request.approved_by))
                )
            yield str(request.id), answer
