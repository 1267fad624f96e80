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
    NothingPersonal,
)
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.lineage import State


class OnlyPlain(
    Reason,
    en="no encrypted and signed copy of it is known",
    de="keine verschlüsselte und signierte Fassung davon ist bekannt",
):
    """The model lies there in plain."""


class EncryptedAs(Reason, en="{artifacts}", de="{artifacts}"):
    """Its encrypted and signed copies."""

    artifacts: tuple[str, ...]


class TrainedAgain(
    Reason,
    en="it was written again since it was encrypted",
    de="es wurde neu geschrieben, seit es verschlüsselt wurde",
):
    """What is there now is not what was encrypted."""


class ModelEncrypted(RegisterControl):
    """Models repeat what they have learned: whoever has the file has some of the data."""

    id = "model-encrypted"
    title = Text(
        en="Every model that has learned personal data has been encrypted and signed",
        de="Jedes Modell, das personenbezogene Daten gelernt hat, wurde verschlüsselt und signiert",
    )
    severity = Severity.HIGH
    asset = AssetKind.MODEL
    reads = (Reads.LINEAGE, Reads.EVIDENCE)
    cites = (
        "gdpr:32(1)(a)",
        "iso-27001:A.8.24",
        "nist-800-53:SC-28",
        "nist-privacy:PR.DS-P",
        "soc2:CC6.1",
        "ccpa-audit:7123(c)(2)",
    )
    remedy = Text(
        en="Put EncryptArtifactOperator after the training, and delete the plain file.",
        de="Setzen Sie EncryptArtifactOperator hinter das Training, und löschen Sie die unverschlüsselte Datei.",
    )
    example = Example(
        holds="the model was encrypted to the key ring in the next task",
        fails="the training task writes a file, and nothing follows",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        # What a trusted key has signed says of which file an artifact is; lineage can say anything.
        made: dict[tuple[str, str], list[int]] = {}
        for identifier, statement in facts.artifacts.items():
            if not isinstance(statement, Reason):
                source = statement.source.namespace, statement.source.name
                made.setdefault(source, []).append(identifier)
        for model in facts.datasets:
            if model.kind != "model" or model.id in facts.artifacts:
                continue
            copies = made.get((model.name.namespace, model.name.name), [])
            written = facts.last_written.get(model.id, 0)
            # Runs are numbered as the register learns of them, whatever clocks say.
            current = [c for c in copies if facts.encrypted_before.get(c, 0) >= written]
            if not model.is_personal:
                answer = not_applicable(NothingPersonal())
            elif current:
                names = tuple(sorted(str(facts.by_id[c].name) for c in current))
                answer = passed(EncryptedAs(names))
            elif copies:
                answer = failed(TrainedAgain())
            elif model.state is State.UNKNOWN:
                answer = unknown(OnlyPlain())
            else:
                answer = failed(OnlyPlain())
            yield str(model.name), answer
