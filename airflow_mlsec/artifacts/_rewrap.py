"""Gives an artifact other recipients, and signs it anew: its header is another one, so that its signature would not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO, cast

from airflow_mlsec.artifacts._encrypt import (
    Encrypted,
    Encryption,
    recipients_of,
    write_signature,
)
from airflow_mlsec.artifacts._verify import require_current, verified
from airflow_mlsec.crypto import Digesting, KeyRing, Unwraps, digest_stream, rewrap
from airflow_mlsec.datasets import Artifact, DatasetName
from airflow_mlsec.errors import DatasetNotFound, SignatureInvalid, UsageError
from airflow_mlsec.ledger import ArtifactStatement, Place, sign_statement
from airflow_mlsec.lineage import artifact_versions, begin_artifact, end_release, next_version
from airflow_mlsec.register import Register, requests_done


def rewrap_artifact(
    artifact: Artifact,
    how: Encryption,
    identities: Sequence[Unwraps],
    keys: KeyRing,
    register: Register,
    run: str | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> Encrypted:
    """Give an artifact the recipients of ``how``, of which nothing else is used, in its place; sign what was stated of it
    with its new recipients as its next version, and record that before it appears. Whoever kept the file's own key can
    still read it: to exclude somebody with certainty, encrypt its source again.

    :param identities: Any of which opens it.
    :raises SignatureInvalid: if the ring did not sign exactly this file.
    :raises DecryptionFailed: if no identity opens it; it is left as it was.
    :raises CheckFailed: if it has expired, or a newer version was published in its place.
    :raises UsageError: if it was signed as a plain file, or nobody could decrypt it.
    """
    done = register.read(requests_done)
    version = register.read(partial(next_version, name=artifact.name))
    digest, said = _signed(artifact, keys, register, dry_run)
    require_current(artifact, digest, said, None, register)
    recipients = recipients_of(keys, how, dry_run)
    made = Encrypted(artifact.uri, len(recipients))
    if dry_run:
        return made
    progress(f"writing {artifact.uri} for {len(recipients)} recipients")
    with artifact.replacing() as raw, artifact.open() as sealed:
        written, read = Digesting(raw), Digesting(sealed)
        rewrap(cast(BinaryIO, read), cast(BinaryIO, written), identities, recipients)
        if read.sha256 != digest:
            raise SignatureInvalid(f"{artifact.uri} changed while it was read")
        said = said.model_copy(
            update={
                "recipients": tuple(str(recipient) for recipient in recipients),
                # A copy is signed as what it is from then on: an artifact in this place.
                "target": Place(namespace=artifact.name.namespace, name=artifact.name.name),
                "version": version,
                "issued_at": register.now(),
                "run": run,
            }
        )
        envelope = sign_statement(keys, {artifact.file_name: written.sha256}, said)
        source = DatasetName(said.source.namespace, said.source.name)
        intent = begin_artifact(register, keys, source, None, artifact, said.kind, envelope, done, run)  # fmt: skip
    write_signature(artifact, envelope)
    end_release(register, intent)
    return Encrypted(
        artifact.uri, len(recipients), said.bytes, written.sha256, version=said.version, envelope=envelope
    )  # fmt: skip


def _signed(
    artifact: Artifact, keys: KeyRing, register: Register, dry_run: bool
) -> tuple[str, ArtifactStatement]:
    """The digest of an artifact and what the ring states of it. If a process was killed between writing the artifact and
    its signature, the register has the signature, and it is written now.

    :raises DatasetNotFound: if it is not there.
    :raises SignatureInvalid: if the ring did not sign it.
    :raises UsageError: if it was signed as a plain file.
    """
    trusted = keys.verification_keys()
    try:
        digest, said = verified(artifact, trusted)
    except (SignatureInvalid, DatasetNotFound):
        if not artifact.exists():
            raise
        with artifact.open() as sealed:
            there = digest_stream(sealed)
        known = register.read(lambda connection: artifact_versions(connection, artifact.name))
        found = next((version for version in known if version.sha256 == there), None)
        if found is None or dry_run:
            raise
        write_signature(artifact, found.envelope)
        digest, said = verified(artifact, trusted)
    if said is None:
        raise UsageError(
            f"{artifact.uri} was signed as a plain file, which names no recipients: use `mlsec rewrap`, and sign it again"
        )
    return digest, said
