"""DecryptArtifactOperator and VerifyArtifactOperator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlsec.errors import UsageError
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import MlsecOperator
from airflow_mlsec.operators.arguments import DatasetArgument, listed

if TYPE_CHECKING:
    from airflow.sdk import Context


def _version(given: int | str | None) -> int | None:
    """A version as given, or as a template rendered it.

    :raises UsageError: if it is not a number.
    """
    if given is None or given in ("", "None"):
        return None
    text = str(given).strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError(f"`version` is the number of an artifact's version, not '{text[:40]}'")
    return int(text)


class VerifyArtifactOperator(MlsecOperator):
    """Gate a release: an artifact is what a trusted signer signed, and was made from data that may be used.

    :param artifact: URI or path of the artifact; ``artifact.sig.json`` is its signature. For a model's local
        folder it is ``artifact.model.sig``, as `mlsec sign` and `model_signing` write it (templated).
    :param public_key: PEM file of the trusted keys; default are the ring's own (templated).
    :param certificate_identity: Instead of a key, the identity that must have signed it without a key (Sigstore):
        an e-mail address or a workload's URI (templated).
    :param certificate_oidc_issuer: URL of the OpenID provider that vouches for them (templated).
    :param signed_as: Name that a model's folder must have been signed under; default is
        any, because folders get renamed: another model of the same signer would pass (templated).
    :param post_quantum: Whether a trusted ML-DSA key must have signed it.
    :param trained_on: URIs of the releases that it must have been trained on: all of them, and their newest
        versions. If one of them has a newer release, the check fails (templated).
    :param version: Which version of the artifact it must be; default is the newest that the register knows in its place, so
        that nobody can put an older one there (templated).

    Returns (XCom) the artifact's digest, who may decrypt it, the name it was signed under, its version and until when it may
    be used. Fails if a byte was changed, the signer is not trusted, it has expired, or the data is not what was expected.
    """

    reads = ("artifact",)
    template_fields: Sequence[str] = (
        "artifact", "public_key", "certificate_identity", "certificate_oidc_issuer", "signed_as", "trained_on",
        "version",
    )  # fmt: skip
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        artifact: DatasetArgument,
        public_key: str | None = None,
        certificate_identity: str | None = None,
        certificate_oidc_issuer: str | None = None,
        signed_as: str | None = None,
        post_quantum: bool = False,
        trained_on: Sequence[str] = (),
        version: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.artifact: Any = artifact
        self.public_key = public_key
        self.certificate_identity = certificate_identity
        self.certificate_oidc_issuer = certificate_oidc_issuer
        self.signed_as = signed_as
        self.post_quantum = post_quantum
        self.trained_on = listed(trained_on)
        self.version = version
        self._take_datasets()

    @property
    def linked_dataset(self) -> str:
        return str(self.artifact)

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._verify()

    def dry_run(self) -> None:
        """Airflow's dry run: the same as `execute`, which writes nothing."""
        with without_values():
            self._verify()

    def _verify(self) -> dict[str, Any]:
        from airflow_mlsec.artifacts import Demands, verify_artifact
        from airflow_mlsec.crypto import trusted_signers

        hook = self.hook
        trusted = (
            trusted_signers(
                Path(self.public_key) if self.public_key is not None else None,
                self.certificate_identity,
                self.certificate_oidc_issuer,
                hook.settings().sigstore_trust_config,
            )
            or hook.key_ring().verification_keys()
        )
        demands = Demands(
            self.trained_on, self.signed_as, self.post_quantum, _version(self.version)
        )
        artifact = hook.artifact(self.artifact)
        found = verify_artifact(artifact, trusted, hook.register(), demands, self._progress)
        return found.summary()


class DecryptArtifactOperator(MlsecOperator):
    """Decrypt an artifact with a key of the ring, after verifying its signature.

    Works from and to any filesystem; no other copy of what is decrypted touches a disk.

    :param source: URI or path of the encrypted file (templated).
    :param target: URI or path of the plain file; it appears once all of it is verified (templated).
    :param key: Key of the ring that opens it; None if only ``services`` open it.
    :param services: URIs of key services' keys that may open it, such as ``aws-kms://alias/mlsec``; each is asked if what
        comes before it did not open it.
    :param folder: Unpack the archive in it as a new local folder ``target``.
    :param verify: Whether ``source.sig.json`` must be signed: by the ring, or by ``public_key``; False for files from others.
    :param public_key: Path of the PEM of whoever must have signed it, instead of the ring (templated).
    :param version: Which version it must be; default is the newest that the register knows in its place (templated).

    Within a task prefer `airflow_mlsec.crypto.DecryptedArtifact`, which leaves nothing on disk.

    Returns (XCom) the target and the number of bytes decrypted.
    """

    reads, writes = ("source",), ("target",)
    template_fields: Sequence[str] = ("source", "target", "public_key", "version")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        source: DatasetArgument,
        target: DatasetArgument,
        key: str | None = "artifact",
        services: Sequence[str] = (),
        folder: bool = False,
        verify: bool = True,
        public_key: str | None = None,
        version: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.source: Any = source
        self.target: Any = target
        self.key = key
        self.services = listed(services)
        self.folder = folder
        self.verify = verify
        self.public_key = public_key
        if public_key is not None and not verify:
            raise ValueError(
                "DecryptArtifactOperator: `public_key` is given, and `verify` is False"
            )
        self._take_datasets()

    @property
    def linked_dataset(self) -> str:
        return str(self.target)

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_mlsec.artifacts import decrypt_artifact
        from airflow_mlsec.crypto import RingKeys, ServiceKey, UnpackLimits, trusted_signers

        with without_values():
            hook = self.hook
            source, target = hook.artifact(self.source), hook.artifact(self.target)
            identities: list[Any] = [ServiceKey(uri) for uri in self.services]
            if self.key is not None:
                identities.append(RingKeys(hook.key_ring, self.key))
            public_key = Path(self.public_key) if self.public_key else None
            trusted = (
                trusted_signers(public_key, None, None, None) or hook.key_ring().verification_keys()
                if self.verify
                else None
            )
            size = decrypt_artifact(
                source, target, identities, trusted, hook.register(), _version(self.version), self.folder,
                UnpackLimits.of(hook.settings().unpack_limit), self._progress,
            )  # fmt: skip
            return {"target": target.uri, "bytes": size}
