"""EncryptArtifactOperator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_mlsec.crypto import (
    SIGNATURE,
    STATEMENT_TYPE,
    Digesting,
    FolderEntry,
    KeyRing,
    VerificationKeys,
    compressed,
    digest_stream,
    encrypt,
    folder_entries,
    identity_of,
    packed,
    parse_recipient,
    parse_signature,
    public_half,
    ring_key,
    verify_payload,
)
from airflow_mlsec.datasets import Artifact, dataset_name
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    SIGNING_KEY,
    ArtifactStatement,
    File,
    Place,
    TrainedOn,
    read_statement,
    sign_statement,
)
from airflow_mlsec.lineage import (
    EVIDENCE_FACET,
    begin_artifact,
    end_release,
    published_releases,
)
from airflow_mlsec.operators._base import (
    MlsecOperator,
    evidence_facet,
    lineage_dataset,
    run_label,
    without_values,
)
from airflow_mlsec.register import Register, requests_done

if TYPE_CHECKING:
    from airflow.sdk import Context


# Times of files are rounded down: to clock ticks on Linux, to two seconds on FAT.
_COARSE = timedelta(seconds=2)


class EncryptArtifactOperator(MlsecOperator):
    """Encrypt a file or a folder (age v1) and sign what it is and where it comes from.

    Writes ``target`` and ``target.sig.json``: an in-toto statement, signed with Ed25519, that
    binds the digest of the encrypted file to the digest of the source, the releases that it was
    trained on, their plans and policies, and the run. From and to any filesystem; what is read is
    encrypted as it comes, and no copy of it touches a disk. If ``target`` already holds just this
    source for just these recipients, signed by the ring, nothing is done again.

    :param source: URI or path of the file to encrypt, or of a folder, which becomes a tar archive
        (templated). ``s3://conn_id@bucket/…`` names an Airflow connection.
    :param target: URI or path of the encrypted file (templated).
    :param recipients: age recipients (``age1…``) who can decrypt besides the key ring and the
        ``[mlsec] break_glass_recipients`` (templated).
    :param key: Key of the key ring that can decrypt; None for the recipients alone.
    :param kind: What the source is: ``model`` or ``artifact``.
    :param trained_on: URIs of the releases that a model was trained on; each must have signed
        evidence in the register (templated). If one was released anew after the model was written, say which release it
        was: ``{"dataset": uri, "evidence": "{{ ti.xcom_pull('anonymize')['evidence'] }}"}``, as AnonymizeOperator returns it.
    :param compress: Compress the archive of a folder (Zstandard) before it is encrypted.
    :param dry_run: Check everything, but write nothing.

    Returns (XCom) the target, its digest, the number of recipients and of bytes, and whether it was
    there already (``unchanged``).
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
        trained_on: Sequence[str | Mapping[str, str]] = (),
        compress: bool = False,
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
        self.compress = compress
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
        hook = self.hook
        source, target = hook.artifact(self.source), hook.artifact(self.target)
        _check_places(source, target, self.compress)
        keys, register = hook.key_ring(), hook.register()
        # Before anything is read: who is erased from then on is not in what is published.
        done = register.read(requests_done)
        recipients = self._recipients(keys, hook.settings().break_glass_recipients)
        made_at = source.modified()
        proof = tuple(_evidence_of(register, release, made_at) for release in self.trained_on)
        said = ArtifactStatement(
            source=File(namespace=source.name.namespace, name=source.name.name),
            target=Place(namespace=target.name.namespace, name=target.name.name),
            kind=self.kind,
            recipients=tuple(str(recipient) for recipient in recipients),
            trained_on=proof,
            compression="zstd" if self.compress else None,
            run=None if context is None else run_label(context),
            issued_at=register.now(),
        )
        summary: dict[str, Any] = {"target": target.uri, "recipients": len(recipients)}
        if dry_run or context is None:
            return summary
        if (there := _there_already(source, target, keys, said)) is not None:
            envelope, digest, size = there
            self._progress("the target already holds this source for these recipients")
            there_as_well = begin_artifact(
                register, keys, source, target, self.kind, envelope, done
            )
            end_release(register, there_as_well)
            self._lineage = {"source": source.name, "target": target.name, "envelope": envelope}
            return {**summary, "bytes": size, "sha256": digest, "unchanged": True}
        self._progress(f"encrypting {source.uri} for {len(recipients)} recipients")
        with target.replacing() as raw, _opened(source) as plain:
            written, read = Digesting(raw), Digesting(plain)
            stream = cast(BinaryIO, read)
            with compressed(stream) if self.compress else nullcontext(stream) as given:
                encrypt(given, cast(BinaryIO, written), recipients, self._encrypted)
            done_to = {
                "source": said.source.model_copy(update={"sha256": read.sha256}),
                "bytes": read.bytes,
                "issued_at": register.now(),
            }
            subject = {target.file_name: written.sha256}
            envelope = sign_statement(keys, subject, said.model_copy(update=done_to))
            # At the last moment before the file appears.
            intent = begin_artifact(register, keys, source, target, self.kind, envelope, done)
        target.beside(SIGNATURE).write_bytes(f"{json.dumps(envelope, indent=1)}\n".encode())
        end_release(register, intent)
        self._lineage = {"source": source.name, "target": target.name, "envelope": envelope}
        return {**summary, "bytes": read.bytes, "sha256": written.sha256, "unchanged": False}

    def _recipients(self, keys: KeyRing, break_glass: Sequence[str]) -> list[Any]:
        texts = dict.fromkeys([*self.recipients, *break_glass])
        recipients: list[Any] = [parse_recipient(text) for text in texts]
        if self.key is not None:
            recipients.append(identity_of(ring_key(keys, self.key, recipients)).recipient)
        elif not self.recipients:
            raise UsageError("nobody but break-glass could decrypt: give `recipients`, or `key`")
        return recipients

    def _encrypted(self, done: int) -> None:
        self._progress(f"{done} bytes encrypted")

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


def _is_later(published_at: str, written: datetime | None, only: bool) -> bool:
    """Whether a release was published after an artifact was written; where nobody can tell when that was, whether
    another one than the ``only`` may be meant."""
    if written is None:
        return not only
    return datetime.fromisoformat(published_at) > written + _COARSE


def _check_places(source: Artifact, target: Artifact, compress: bool) -> None:
    """
    :raises DatasetNotFound: if there is no source.
    :raises UsageError: if the target is the source or within it, or a single file is to be compressed.
    """
    if source.is_folder():
        if _within(source, target):
            raise UsageError(f"{target.uri} lies within the folder that is encrypted")
    elif not source.exists():
        raise DatasetNotFound(f"no file at {source.uri}")
    elif compress:
        raise UsageError(f"`compress` is for folders, and {source.uri} is a file")
    elif source.full_uri == target.full_uri or (
        source.local is not None
        and target.local is not None
        and target.local.exists()
        and source.local.samefile(target.local)
    ):
        raise UsageError(f"source and target are the same file: {source.uri}")


def _within(folder: Artifact, target: Artifact) -> bool:
    if folder.local is None or target.local is None:
        return target.full_uri.startswith(f"{folder.full_uri.rstrip('/')}/")
    return target.local.resolve().is_relative_to(folder.local.resolve())


@contextmanager
def _opened(source: Artifact) -> Iterator[BinaryIO]:
    """The source as a stream; a folder as an archive."""
    if not source.is_folder():
        with source.open() as file:
            yield file
        return
    entries = (
        [FolderEntry(name, file.open) for name, file in source.below()]
        if source.local is None
        else folder_entries(source.local)
    )
    with packed(entries) as archive:
        yield archive


def _there_already(
    source: Artifact, target: Artifact, keys: KeyRing, said: ArtifactStatement
) -> tuple[dict[str, Any], str, int | None] | None:
    """The signature and digest of the target and the bytes of its source, if it is of just this source, for just these recipients."""
    if not (target.exists() and target.beside(SIGNATURE).exists()):
        return None
    try:
        envelope = parse_signature(target.beside(SIGNATURE).read_bytes(), target.uri)
        with target.open() as sealed:
            digest = digest_stream(sealed)
        # Whoever verifies it now must find all that would sign it now.
        for key in keys.signing_keys(SIGNING_KEY):
            trusted = VerificationKeys([public_half(key.kind, key.secret)])
            statement = read_statement(
                verify_payload(envelope, STATEMENT_TYPE, trusted), ArtifactStatement
            )
    except SignatureInvalid:
        return None
    if dict(statement.subjects) != {target.file_name: digest}:
        return None
    found = statement.predicate
    # What is found only by reading, and when and by which run it was made, may be as they were.
    same = {name: getattr(found, name) for name in ("bytes", "issued_at", "run")}
    same["source"] = said.source.model_copy(update={"sha256": found.source.sha256})
    if said.model_copy(update=same) != found:
        return None
    with _opened(source) as plain:
        if found.source.sha256 != digest_stream(plain):
            return None
    return envelope, digest, found.bytes


def _evidence_of(
    register: Register, said: str | Mapping[str, str], written: datetime | None
) -> TrainedOn:
    """What evidence says of a release that an artifact was trained on, which was ``written`` then.

    :raises CheckFailed: if there is no such release, or which one it was cannot be told.
    """
    uri, wanted = (said, None) if isinstance(said, str) else (said["dataset"], said["evidence"])
    name = dataset_name(uri)
    found = register.read(lambda connection: published_releases(connection, name))
    if not found:
        raise CheckFailed(
            f"`trained_on` names {uri}, for which the register has no signed release; "
            "anonymize it with AnonymizeOperator first"
        )
    if wanted is not None:
        found = [release for release in found if release.evidence == wanted]
        if not found:
            raise CheckFailed(
                f"`trained_on` names a release of {uri} that the register does not have"
            )
    while wanted is None and written is not None and len(found) > 1:
        # Rows that requests have removed since make no other release of it.
        later = _is_later(found[-1].published_at, written, only=False)
        if not later or found[-1].predicate.removed_by_request is None:
            break
        found.pop()
    newest = found[-1]
    if wanted is None and _is_later(newest.published_at, written, len(found) == 1):
        raise CheckFailed(
            f"`trained_on` names {uri}, which was released at {newest.published_at[:19]}Z, and the artifact was "
            f"{f'written before, at {written:%Y-%m-%dT%H:%M:%S}Z' if written else 'written nobody can tell when'}: say which "
            "release it was trained on (`evidence`, as AnonymizeOperator returns it)"
        )
    release = newest.predicate
    return TrainedOn(
        evidence=newest.evidence,
        dataset=Place(namespace=name.namespace, name=name.name),
        plan=release.plan,
        policy=release.policy,
        run=release.run,
        # The list of the persons in it, as keyed digests, by the SHA-256 of its file.
        membership=release.membership,
    )
