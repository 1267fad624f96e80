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
from airflow_mlsec.lineage import State


class TrainedOnIdentified(
    Reason,
    en="it was made from data that identifies people: {datasets}",
    de="es entstand aus Daten, die Menschen erkennen lassen: {datasets}",
):
    """Nobody anonymized or pseudonymized the data before."""

    datasets: tuple[str, ...]


class SourcesUnknown(
    Reason,
    en="it is not known what it was made from",
    de="es ist nicht bekannt, woraus es entstanden ist",
):
    """No run has reported the training data."""


class TrainedOnReleases(Reason, en="made from {datasets}", de="entstanden aus {datasets}"):
    """The training data does not identify people."""

    datasets: tuple[str, ...]


class TrainingDataReleased(RegisterControl):
    """Personal data is anonymized or pseudonymized before a model learns it."""

    id = "training-data-released"
    title = Text(
        en="No model was made from data that identifies people directly",
        de="Kein Modell entstand aus Daten, die Menschen unmittelbar erkennen lassen",
    )
    severity = Severity.HIGH
    asset = AssetKind.MODEL
    reads = (Reads.LINEAGE, Reads.EVIDENCE)
    cites = (
        "gdpr:25(1)", "gdpr:32(1)(a)", "iso-27001:A.8.11", "iso-42001:A.7.5", "nist-privacy:CT.DP-P", "nist-ai-rmf:MEASURE 2.10",
    )  # fmt: skip
    remedy = Text(
        en="Put AnonymizeOperator between the source and the training, and train on its target.",
        de="Setzen Sie AnonymizeOperator zwischen Quelle und Training, und trainieren Sie auf seinem Ziel.",
    )
    example = Example(
        holds="the model was trained on the release of the customers",
        fails="the model was trained on the customers themselves",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for model in facts.datasets:
            if model.kind != "model":
                continue
            sources = [facts.by_id[s] for s in sorted(model.sources) if s in facts.by_id]
            raw = tuple(str(s.name) for s in sources if s.state is State.IDENTIFIED)
            dark = [s for s in sources if s.state is State.UNKNOWN]
            if raw:
                answer = failed(TrainedOnIdentified(raw))
            elif not sources or dark or model.state is State.UNKNOWN:
                answer = unknown(SourcesUnknown())
            else:
                answer = passed(TrainedOnReleases(tuple(str(s.name) for s in sources)))
            yield str(model.name), answer
