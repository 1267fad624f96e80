"""DecryptArtifactOperator and VerifyArtifactOperator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_mlsec.crypto import (
    MODEL_SIGNATURE,
    SIGNATURE,
    Digesting,
    ServiceKey,
    Trusted,
    decrypt,
    digest_stream,
    identity_of,
    parse_signature,
    signed_name,
    unpacked,
    verify_model,
    verify_statement,
    whom_to_trust,
)
from airflow_mlsec.datasets import Artifact, dataset_name
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, SignatureInvalid, UsageError
from airflow_mlsec.ledger import ArtifactStatement, Place, predicate_of
from airflow_mlsec.lineage import latest_release
from airflow_mlsec.operators._base import MlsecOperator, without_values

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyArtifactOperator(MlsecOperator):
    """Gate a release: an artifact is what was signed, by somebody trusted, of data that may be used.

    :param artifact: URI or path of the artifact; ``artifact.sig.json`` is its signature. Of a model's local
        folder ``artifact.model.sig`` is, as `mlsec sign` and `model_signing` write it (templated).
    :param public_key: PEM file of the keys that are trusted; default are the ring's own (templated).
    :param certificate_identity: Instead of a key, who must have signed it without one (Sigstore): an e-mail
        address or a workload's URI (templated).
    :param certificate_oidc_issuer: URL of the OpenID provider that vouches for them (templated).
    :param signed_as: Name that a model's folder must have been signed under; default is any, since
        folders are renamed: another model of the same signer would pass (templated).
    :param post_quantum: Whether a trusted ML-DSA key must have signed it.
    :param trained_on: URIs of the releases that it must have been trained on, all of them and as they
        are now: a newer release of one of them fails (templated).

    Returns (XCom) the artifact's digest, who may decrypt it, and the name it was signed under. Fails if a byte was changed, the signer
    is not trusted, or the data is other than expected.
    """

    template_fields: Sequence[str] = (
        "artifact", "public_key", "certificate_identity", "certificate_oidc_issuer", "signed_as", "trained_on",
    )  # fmt: skip
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        artifact: str,
        public_key: str | None = None,
        certificate_identity: str | None = None,
        certificate_oidc_issuer: str | None = None,
        signed_as: str | None = None,
        post_quantum: bool = False,
        trained_on: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.artifact = artifact
        self.public_key = public_key
        self.certificate_identity = certificate_identity
        self.certificate_oidc_issuer = certificate_oidc_issuer
        self.signed_as = signed_as
        self.post_quantum = post_quantum
        self.trained_on = trained_on

    @property
    def linked_dataset(self) -> str:
        return self.artifact

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._verify()

    def dry_run(self) -> None:
        """Airflow's dry run: the same; nothing is written anyway."""
        with without_values():
            self._verify()

    def _verify(self) -> dict[str, Any]:
        artifact = self.hook.artifact(self.artifact)
        trusted = (
            whom_to_trust(
                Path(self.public_key) if self.public_key is not None else None,
                self.certificate_identity,
                self.certificate_oidc_issuer,
                self.hook.settings().sigstore_trust_config,
            )
            or self.hook.key_ring().verification_keys()
        )
        if artifact.local is not None and artifact.is_folder():
            return self._verified_model(artifact.local, trusted)
        if self.signed_as not in (None, artifact.file_name):
            raise CheckFailed(f"{artifact.file_name} is not called '{self.signed_as}'")
        digest, said = verified(artifact, trusted, self.post_quantum)
        register = self.hook.register()
        for uri in self.trained_on:
            name = dataset_name(uri)
            wanted = Place(namespace=name.namespace, name=name.name)
            proofs = () if said is None else said.trained_on
            proof = next((one for one in proofs if one.dataset == wanted), None)
            if proof is None:
                raise CheckFailed(f"{artifact.file_name} was not trained on {uri}")
            now = register.read(partial(latest_release, name=name))
            if now is None or (now.plan, now.policy) != (proof.plan, proof.policy):
                raise CheckFailed(
                    f"{artifact.file_name} was trained on {uri} under another policy or plan than the newest release"
                )
        recipients = [] if said is None else list(said.recipients)
        return {"sha256": digest, "recipients": recipients, "signed_as": artifact.file_name}

    def _verified_model(self, folder: Path, trusted: Trusted) -> dict[str, Any]:
        if self.trained_on or self.post_quantum:
            raise UsageError(
                "a model's folder is signed without its training data, and with ECDSA: `trained_on` and "
                "`post_quantum` are for what EncryptArtifactOperator signed"
            )
        path = folder.with_name(f"{folder.name}{MODEL_SIGNATURE}")
        if not path.is_file():
            raise DatasetNotFound(f"no file at {path}")
        bundle = parse_signature(path.read_bytes(), str(path))
        statement = verify_model(folder, bundle, trusted, self._progress)
        [subject] = statement["subject"]
        name = signed_name(statement, self.signed_as, folder.name)
        return {"sha256": subject["digest"]["sha256"], "recipients": [], "signed_as": name}


class DecryptArtifactOperator(MlsecOperator):
    """Decrypt an artifact with a key of the ring, after its signature was verified.

    From and to any filesystem; no other copy of what is decrypted touches a disk.

    :param source: URI or path of the encrypted file (templated).
    :param target: URI or path of the plain one, which appears when all of it verified (templated).
    :param key: Key of the ring that opens it; None if only ``services`` do.
    :param services: URIs of key services' keys that may open it, such as ``aws-kms://alias/mlsec``.
    :param folder: Unpack the archive in it as a new local folder ``target``.
    :param verify: Whether ``source.sig.json`` must be signed by the ring; False for files of others.

    Within a task prefer `airflow_mlsec.crypto.DecryptedArtifact`, which leaves nothing on disk.

    Returns (XCom) the target and the number of bytes decrypted.
    """

    template_fields: Sequence[str] = ("source", "target")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        source: str,
        target: str,
        key: str | None = "artifact",
        services: Sequence[str] = (),
        folder: bool = False,
        verify: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.target = target
        self.key = key
        self.services = services
        self.folder = folder
        self.verify = verify
        self._bytes = 0
        self._declare_assets([source], [target])

    @property
    def linked_dataset(self) -> str:
        return self.target

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            hook = self.hook
            source, target = hook.artifact(self.source), hook.artifact(self.target)
            keys = hook.key_ring()
            digest = verified(source, keys.verification_keys())[0] if self.verify else None
            identities: list[Any] = [ServiceKey(uri) for uri in self.services]
            if self.key is not None:
                identities += [identity_of(key) for key in keys.some_live(self.key)]
            with source.open() as sealed, self._written(source, target) as write:
                read = Digesting(sealed)
                decrypt(cast(BinaryIO, read), write, identities, self._decrypted)
                # What was verified is what was read.
                if digest is not None and read.sha256 != digest:
                    raise SignatureInvalid(f"{source.uri} changed while it was read")
            return {"target": target.uri, "bytes": self._bytes}

    def _written(self, source: Artifact, target: Artifact) -> AbstractContextManager[BinaryIO]:
        if self.folder:
            if target.local is None:
                raise UsageError(
                    f"{target.uri} is not local; a folder is unpacked to the local disk"
                )
            return unpacked(target.local)
        if source.full_uri == target.full_uri:
            raise UsageError(f"source and target are the same file: {source.uri}")
        return target.replacing()

    def _decrypted(self, done: int) -> None:
        self._bytes = done
        self._progress(f"{done} bytes decrypted")


def verified(
    artifact: Artifact, trusted: Trusted, post_quantum: bool = False
) -> tuple[str, ArtifactStatement | None]:
    """The digest of an artifact, and what its signature says of it: nothing, if it was signed as any file is.

    :raises DatasetNotFound: if the artifact or its signature is missing.
    :raises SignatureInvalid: if no trusted key signed just this file.
    """
    signature = artifact.beside(SIGNATURE)
    for wanted in (artifact, signature):
        if not wanted.exists():
            raise DatasetNotFound(f"no file at {wanted.uri}")
    envelope = parse_signature(signature.read_bytes(), signature.uri)
    with artifact.open() as sealed:
        digest = digest_stream(sealed)
    statement = verify_statement(envelope, trusted, {artifact.file_name: digest}, post_quantum)
    return digest, predicate_of(statement, ArtifactStatement)
