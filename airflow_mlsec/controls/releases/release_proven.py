from __future__ import annotations

from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
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
    title = "The register has signed evidence that this policy made the release"
    source = "GDPR Art. 5(2)"
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
