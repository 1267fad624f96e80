"""Whether an artifact is what a trusted signer signed, and made from data that may be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from airflow_mlsec.crypto import (
    MODEL_SIGNATURE,
    SIGNATURE,
    Trusted,
    digest_stream,
    parse_signature,
    signed_name,
    verify_model,
    verify_statement,
)
from airflow_mlsec.datasets import Artifact, dataset_name
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, SignatureInvalid, UsageError
from airflow_mlsec.ledger import ArtifactStatement, FileStatement, Place, predicate_of
from airflow_mlsec.lineage import (
    ArtifactVersion,
    artifact_versions,
    latest_release,
    newest_published,
)
from airflow_mlsec.register import Register

# Of the statements that this package makes.
_OURS = FileStatement.predicate_type.rsplit("/", 2)[0]


@dataclass(frozen=True)
class Demands:
    """What is required of an artifact in addition to its signature: the releases that it was trained on, all of them and
    in their newest versions; the name that it was signed under (a folder may be renamed); a signature that a quantum
    computer cannot forge; its version, by default the newest that the register knows."""

    trained_on: Sequence[str] = ()
    signed_as: str | None = None
    post_quantum: bool = False
    version: int | None = None


@dataclass(frozen=True)
class Verified:
    """What was verified: the artifact's digest, who may decrypt it, the name that it was signed under, its version and
    until when it may be used."""

    sha256: str
    recipients: tuple[str, ...]
    signed_as: str | None
    version: int | None = None
    expires_at: str | None = None

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "sha256": self.sha256,
            "recipients": list(self.recipients),
            "signed_as": self.signed_as,
            "version": self.version,
            "expires_at": self.expires_at,
        }


def verify_artifact(
    artifact: Artifact,
    trusted: Trusted,
    register: Register,
    demands: Demands = Demands(),
    progress: Callable[[str], None] = lambda message: None,
) -> Verified:
    """Verify an artifact, or a model's local folder, against the signature next to it.

    :raises DatasetNotFound: if the artifact or its signature is missing.
    :raises SignatureInvalid: if no trusted key signed exactly this.
    :raises CheckFailed: if it was trained on other data, or under another policy or plan than the newest release; has
        expired; or is not the version that is demanded.
    :raises UsageError: if more is demanded of a model's folder than its signature can say.
    """
    if artifact.local is not None and artifact.is_folder():
        if _known(artifact, register):
            raise CheckFailed(
                f"{artifact.file_name} is a folder, and an encrypted artifact was published in its place"
            )
        return _verified_model(artifact.local, trusted, demands, progress)
    if demands.signed_as not in (None, artifact.file_name):
        raise CheckFailed(f"{artifact.file_name} is not called '{demands.signed_as}'")
    digest, said = verified(artifact, trusted, demands.post_quantum)
    require_current(artifact, digest, said, demands.version, register)
    for uri in demands.trained_on:
        _require_trained_on(artifact.file_name, said, uri, register)
    if said is None:
        return Verified(digest, (), artifact.file_name)
    return Verified(digest, said.recipients, artifact.file_name, said.version, said.expires_at)


def require_current(
    artifact: Artifact,
    digest: str,
    said: ArtifactStatement | None,
    version: int | None,
    register: Register,
) -> None:
    """Check that an artifact has not expired, and is one of those that the register knows in its place: the newest, or the
    ``version`` that is demanded. A copy in a place where the register knows none is not compared: an earlier version may be
    kept there.

    :raises CheckFailed: if it is not.
    """
    name = artifact.file_name
    known = _known(artifact, register)
    if known and all(one.sha256 != digest for one in known):
        raise CheckFailed(
            f"{name} is none of the versions that were published in its place: another file was put there. To use it there, "
            "encrypt its source into this place"
        )
    if said is None:
        if version is not None:
            raise CheckFailed(f"{name} was signed as a plain file, without a version")
        if known:
            raise CheckFailed(
                f"{name} was signed as a plain file, and artifacts were published in its place: rewrap those with "
                "`mlsec artifact rewrap`, which says which version it is"
            )
        return
    if said.expires_at is not None:
        # The clock of this machine may be slow; what was recorded is not later than now.
        now = max([register.now(), *(one.recorded_at for one in known)], key=datetime.fromisoformat)
        if datetime.fromisoformat(said.expires_at) <= datetime.fromisoformat(now):
            raise CheckFailed(f"{name} expired at {said.expires_at[:19]}Z; encrypt its source again, or its successor")  # fmt: skip
    own = said.version or 0
    if version is not None:
        if own != version:
            raise CheckFailed(f"{name} is version {own}, not {version}")
        return
    newest = newest_published(known)
    if newest is not None and (newest.version > own or (newest.version == own and newest.sha256 != digest)):  # fmt: skip
        raise CheckFailed(
            f"{name} is version {own}, and version {newest.version} was published in its place at "
            f"{str(newest.published_at)[:19]}Z: an older one was put there. If it is the one that you want, name its version"
        )


def _known(artifact: Artifact, register: Register) -> list[ArtifactVersion]:
    """The versions that the register knows in an artifact's place, however its path is spelled."""
    names = {artifact.name}
    if artifact.local is not None:
        names.add(dataset_name(str(artifact.local.resolve())))
    return register.read(lambda connection: artifact_versions(connection, *names))


def _require_trained_on(
    name: str, said: ArtifactStatement | None, uri: str, register: Register
) -> None:
    dataset = dataset_name(uri)
    wanted = Place(namespace=dataset.namespace, name=dataset.name)
    proofs = () if said is None else said.trained_on
    proof = next((one for one in proofs if one.dataset == wanted), None)
    if proof is None:
        raise CheckFailed(f"{name} was not trained on {uri}")
    now = register.read(partial(latest_release, name=dataset))
    if now is None or (now.plan, now.policy) != (proof.plan, proof.policy):
        raise CheckFailed(
            f"{name} was trained on {uri} under another policy or plan than the newest release"
        )


def _verified_model(
    folder: Path, trusted: Trusted, demands: Demands, progress: Callable[[str], None]
) -> Verified:
    if demands.trained_on or demands.post_quantum or demands.version is not None:
        raise UsageError(
            "a model's folder is signed without its training data and version, and with ECDSA: `trained_on`, `version` and "
            "`post_quantum` are for encrypted artifacts"
        )
    path = folder.with_name(f"{folder.name}{MODEL_SIGNATURE}")
    if not path.is_file():
        raise DatasetNotFound(f"no file at {path}")
    bundle = parse_signature(path.read_bytes(), str(path))
    statement = verify_model(folder, bundle, trusted, progress)
    [subject] = statement["subject"]
    name = signed_name(statement, demands.signed_as, folder.name)
    return Verified(str(subject["digest"]["sha256"]), (), name)


def verified(
    artifact: Artifact, trusted: Trusted, post_quantum: bool = False
) -> tuple[str, ArtifactStatement | None]:
    """The digest of an artifact, and what its signature states about it; None if it was signed as a plain file.

    :raises DatasetNotFound: if the artifact or its signature is missing.
    :raises SignatureInvalid: if no trusted key signed exactly this file.
    """
    signature = artifact.beside(SIGNATURE)
    for wanted in (artifact, signature):
        if not wanted.exists():
            raise DatasetNotFound(f"no file at {wanted.uri}")
    envelope = parse_signature(signature.read_bytes(), signature.uri)
    with artifact.open() as sealed:
        digest = digest_stream(sealed)
    statement = verify_statement(envelope, trusted, {artifact.file_name: digest}, post_quantum)
    said = predicate_of(statement, ArtifactStatement)
    kind = str(statement["predicateType"])
    if said is None and kind.startswith(_OURS) and kind != FileStatement.predicate_type:
        raise SignatureInvalid(f"what was signed says something else ({kind[:80]})")
    return digest, said
