"""EncryptArtifactOperator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_mlsec import files
from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    KeyKind,
    digest_file,
    encrypt_file,
    identity_of,
    parse_recipient,
    ring_key,
    sign_payload,
)
from airflow_mlsec.datasets import DatasetName, dataset_name, file_path
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, UsageError
from airflow_mlsec.lineage import (
    EVIDENCE_FACET,
    artifact_statement,
    latest_release,
    record_evidence,
)
from airflow_mlsec.operators._base import (
    MlsecOperator,
    evidence_facet,
    lineage_dataset,
    run_label,
    without_values,
)
from airflow_mlsec.register import Register, set_dataset

if TYPE_CHECKING:
    from airflow.sdk import Context


class EncryptArtifactOperator(MlsecOperator):
    """Encrypt a file (age v1) and sign what it is and where it comes from.

    Writes ``target`` and ``target.sig.json``: an in-toto statement, signed with Ed25519, that
    binds the digest of the encrypted file to the digest of the source, the releases that it was
    trained on, their plans and policies, and the run.

    :param source: URI or path of the local file to encrypt (templated).
    :param target: URI or path of the encrypted file (templated).
    :param recipients: age recipients (``age1…``) who can decrypt besides the key ring (templated).
    :param key: X25519 key of the key ring that can decrypt; None for the recipients alone.
    :param kind: What the source is: ``model`` or ``artifact``.
    :param trained_on: URIs of the releases that a model was trained on; each must have signed
        evidence in the register (templated).
    :param dry_run: Check everything, but write nothing.

    Returns (XCom) the target, its digest, the number of recipients and of bytes.
    """

    template_fields: Sequence[str] = ("source", "target", "recipients", "trained_on")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        source: str,
        target: str,
        recipients: Sequence[str] = (),
        key: str | None = "artifact",
        kind: str = "model",
        trained_on: Sequence[str] = (),
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.target = target
        self.recipients = recipients
        self.key = key
        self.kind = kind
        self.trained_on = trained_on
        self._only_try = dry_run
        self._lineage: dict[str, Any] | None = None
        self._declare_assets([source], [target])

    @property
    def linked_dataset(self) -> str:
        return self.target

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._run(context, self._only_try)

    def dry_run(self) -> None:
        """Airflow's dry run: check source, recipients and evidence; write nothing."""
        with without_values():
            self._run(None, True)

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        source, target = file_path(self.source), file_path(self.target)
        if not source.is_file():
            raise DatasetNotFound(f"no file at {source}")
        keys, register = self.hook.key_ring(), self.hook.register()
        recipients = [parse_recipient(text) for text in self.recipients]
        if self.key is not None:
            recipients.append(identity_of(ring_key(keys, self.key, recipients)).recipient)
        if not recipients:
            raise UsageError("nobody could decrypt: give `recipients`, or `key`")
        proof = [_evidence_of(register, dataset_name(uri), uri) for uri in self.trained_on]
        summary = {
            "target": str(target),
            "recipients": len(recipients),
            "bytes": source.stat().st_size,
        }
        if dry_run or context is None:
            return summary
        self._progress(f"encrypting {summary['bytes']} bytes for {len(recipients)} recipients")
        encrypt_file(source, target, recipients, self._encrypted)
        statement = artifact_statement(
            dataset_name(str(target)),
            digest_file(target),
            dataset_name(str(source)),
            digest_file(source),
            self.kind,
            [str(recipient) for recipient in recipients],
            {"trained_on": proof, "run": run_label(context)},
            register.now(),
        )
        signing = keys.ensure("signing", KeyKind.SIGNING)
        envelope = sign_payload(statement, STATEMENT_TYPE, signing)
        text = f"{json.dumps(envelope, indent=1)}\n"
        files.write_bytes(target.with_name(f"{target.name}.sig.json"), text.encode())
        self._record(register, keys, source, target, envelope)
        return {**summary, "sha256": json.loads(statement)["subject"][0]["digest"]["sha256"]}

    def _encrypted(self, done: int) -> None:
        self._progress(f"{done} bytes encrypted")

    def _record(
        self, register: Register, keys: Any, source: Path, target: Path, envelope: dict[str, Any]
    ) -> None:
        names = dataset_name(str(source)), dataset_name(str(target))
        now = register.now()

        def work(connection: sa.Connection) -> None:
            of_source, of_target = names
            set_dataset(
                connection,
                of_source.namespace,
                of_source.name,
                now,
                kind=self.kind,
                uri=source.as_uri(),
            )
            identifier = set_dataset(
                connection,
                of_target.namespace,
                of_target.name,
                now,
                kind="artifact",
                uri=target.as_uri(),
            )
            record_evidence(connection, identifier, envelope, keys.verification_keys(), None, now)

        register.write(work)
        self._lineage = {"source": names[0], "target": names[1], "envelope": envelope}

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """Source and target, with our signed evidence."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        del ti
        if self._lineage is None:
            return OperatorLineage()
        facets = {EVIDENCE_FACET: evidence_facet(self._lineage["envelope"])}
        return OperatorLineage(
            inputs=[lineage_dataset(self._lineage["source"], [], {}, output=False)],
            outputs=[lineage_dataset(self._lineage["target"], [], facets, output=True)],
        )


def _evidence_of(register: Register, name: DatasetName, uri: str) -> dict[str, Any]:
    predicate = register.read(lambda connection: latest_release(connection, name))
    if predicate is None:
        raise CheckFailed(
            f"`trained_on` names {uri}, for which the register has no signed release; "
            "anonymize it with AnonymizeOperator first"
        )
    return {
        "dataset": {"namespace": name.namespace, "name": name.name},
        "plan": predicate["plan"],
        "policy": predicate["policy"],
        "run": predicate["run"],
    }
