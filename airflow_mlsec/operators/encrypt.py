"""EncryptArtifactOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import (
    MlsecOperator,
    evidence_facet,
    lineage_dataset,
    run_label,
)
from airflow_mlsec.operators.arguments import DatasetArgument, listed

if TYPE_CHECKING:
    from airflow.sdk import Context


class EncryptArtifactOperator(MlsecOperator):
    """Encrypt a file or a folder (age v1) and sign what it is and where it comes from.

    Writes ``target`` and ``target.sig.json``: an in-toto statement, signed with Ed25519, that
    binds the digest of the encrypted file to the digest of the source, the releases that it was
    trained on, their plans and policies, and the run. Works from and to any filesystem; data is
    encrypted as it is read, and no copy of it touches a disk. If ``target`` already holds exactly
    this source for exactly these recipients, signed by the ring, nothing is done.

    :param source: URI or path of the file to encrypt, or of a folder, which becomes a tar archive
        (templated). ``s3://conn_id@bucket/…`` names an Airflow connection.
    :param target: URI or path of the encrypted file (templated).
    :param recipients: age recipients (``age1…``) who can decrypt it, in addition to the key ring
        and the ``[mlsec] break_glass_recipients`` (templated).
    :param key: Key of the key ring that can decrypt; None for the recipients alone.
    :param kind: What the source is: ``model`` or ``artifact``.
    :param trained_on: URIs of the releases that a model was trained on; each must have signed
        evidence in the register (templated). If one was released again after the model was written, specify which release it
        was: ``{"dataset": uri, "evidence": "{{ ti.xcom_pull('anonymize')['evidence'] }}"}``, as AnonymizeOperator returns it.
    :param compress: Compress the archive of a folder (Zstandard) before it is encrypted.
    :param expires_in: For how long it may be used: VerifyArtifactOperator and DecryptArtifactOperator refuse it afterwards.
    :param dry_run: Check everything, but write nothing.

    Returns (XCom) the target, its digest, its version (the register numbers them), the number of recipients and of bytes,
    and whether it was there already (``unchanged``).
    """

    reads: ClassVar[Sequence[str]] = ("source",)
    writes: ClassVar[Sequence[str]] = ("target",)
    template_fields: Sequence[str] = ("source", "target", "recipients", "trained_on")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        source: DatasetArgument,
        target: DatasetArgument,
        recipients: Sequence[str] | str = (),
        key: str | None = "artifact",
        kind: str = "model",
        trained_on: Sequence[str | Mapping[str, str]] | str = (),
        compress: bool = False,
        expires_in: timedelta | None = None,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source: Any = source
        self.target: Any = target
        self.recipients = listed(recipients)
        self.key = key
        self.kind = kind
        self.trained_on = listed(trained_on)
        self.compress = compress
        self.expires_in = expires_in
        self._only_try = dry_run
        self._lineage: dict[str, Any] | None = None
        self._take_datasets()

    @property
    def linked_dataset(self) -> str:
        return str(self.target)

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._run(context, self._only_try)

    def dry_run(self) -> None:
        """Airflow's dry run: check source, recipients and evidence; write nothing."""
        with without_values():
            self._run(None, True)

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        from airflow_mlsec.artifacts import Encryption, encrypt_artifact

        hook = self.hook
        source, target = hook.artifact(self.source), hook.artifact(self.target)
        how = Encryption(
            self.recipients,
            self.key,
            hook.settings().break_glass_recipients,
            self.kind,
            self.trained_on,
            self.compress,
            self.expires_in,
        )
        made = encrypt_artifact(
            source,
            target,
            how,
            hook.key_ring(),
            hook.register(),
            None if context is None else run_label(context),
            dry_run or context is None,
            self._progress,
        )
        if made.envelope is not None:
            self._lineage = {
                "source": source.name,
                "target": target.name,
                "envelope": made.envelope,
            }
        return made.summary()

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """Source and target, with our signed evidence."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        from airflow_mlsec.lineage import EVIDENCE_FACET

        del ti
        if self._lineage is None:
            return OperatorLineage()
        facets = {EVIDENCE_FACET: evidence_facet(self._lineage["envelope"])}
        return OperatorLineage(
            inputs=[lineage_dataset(self._lineage["source"], [], {}, output=False)],
            outputs=[lineage_dataset(self._lineage["target"], [], facets, output=True)],
        )
