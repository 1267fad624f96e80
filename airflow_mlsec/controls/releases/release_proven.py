from __future__ import annotations

from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls.reasons import (
    NoEvidence,
    NoRegister,
    OtherFile,
    OtherPolicy,
    ProvenByPlan,
)
from airflow_mlsec.lineage import latest_release


class ReleaseProven(DatasetControl):
    """Signed evidence names this very file and this policy."""

    id = "release-proven"
    title = Text(
        en="The register has signed evidence that this policy made the release",
        de="Das Register hat einen signierten Nachweis, dass diese Richtlinie die Freigabe erzeugt hat",
    )
    severity = Severity.HIGH
    reads = (
        Reads.DATA,
        Reads.EVIDENCE,
    )
    cites = (
        "gdpr:5(2)",
        "gdpr:24(1)",
        "iso-42001:A.7.5",
    )
    remedy = Text(
        en="Make the release again with AnonymizeOperator, which signs what it did.",
        de="Erstellen Sie die Freigabe neu mit AnonymizeOperator, der signiert, was er getan hat.",
    )
    example = Example(
        holds="the newest evidence names this file and this policy",
        fails="the file was changed afterwards",
    )
    stage = "release"

    def answer(self, question: DatasetQuestion) -> Answer:
        if question.register is None:
            return unknown(NoRegister())
        name = question.dataset.name
        release = question.register.read(lambda connection: latest_release(connection, name))
        if release is None:
            return unknown(NoEvidence())
        if release.policy != question.policy.digest:
            return failed(OtherPolicy())
        stated = release.target.sha256
        if stated is not None and question.dataset.digest() != stated:
            return failed(OtherFile())
        return passed(ProvenByPlan(release.plan[:12]))
