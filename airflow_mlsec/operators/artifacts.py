"""DecryptArtifactOperator and VerifyArtifactOperator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlsec.crypto import (
    VerificationKeys,
    decrypt_file,
    digest_file,
    identity_of,
    verify_statement,
)
from airflow_mlsec.datasets import dataset_name, file_path
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, SignatureInvalid
from airflow_mlsec.lineage import latest_release
from airflow_mlsec.operators._base import MlsecOperator, without_values

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyArtifactOperator(MlsecOperator):
    """Gate a release: an artifact is what was signed, by somebody trusted, of data that may be used.

    :param artifact: URI or path of the artifact; ``artifact.sig.json`` is its signature (templated).
    :param public_key: PEM file of the keys that are trusted; default are the ring's own (templated).
    :param trained_on: URIs of the releases that it must have been trained on, all of them and as they
        are now: a newer release of one of them fails (templated).

    Returns (XCom) the artifact's digest and who may decrypt it. Fails if a byte was changed, the signer
    is not trusted, or the data is other than expected.
    """

    template_fields: Sequence[str] = ("artifact", "public_key", "trained_on")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        artifact: str,
        public_key: str | None = None,
        trained_on: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.artifact = artifact
        self.public_key = public_key
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
        path = file_path(self.artifact)
        digest, predicate = verified(
            path,
            VerificationKeys.from_pem(Path(self.public_key))
            if self.public_key
            else self.hook.key_ring().verification_keys(),
        )
        register = self.hook.register()
        for uri in self.trained_on:
            name = dataset_name(uri)
            wanted = {"namespace": name.namespace, "name": name.name}
            proof = next(
                (p for p in predicate.get("trained_on", ()) if p.get("dataset") == wanted), None
            )
            if proof is None:
                raise CheckFailed(f"{path.name} was not trained on {uri}")
            now = register.read(partial(latest_release, name=name))
            if now is None or any(now[part] != proof.get(part) for part in ("plan", "policy")):
                raise CheckFailed(
                    f"{path.name} was trained on {uri} under another policy or plan than the newest release"
                )
        return {"sha256": digest, "recipients": predicate.get("recipients", [])}


class DecryptArtifactOperator(MlsecOperator):
    """Decrypt an artifact with a key of the ring, after its signature was verified.

    :param source: URI or path of the encrypted file (templated).
    :param target: URI or path of the plain one, which appears when all of it verified (templated).
    :param key: Key of the ring that opens it.
    :param verify: Whether ``source.sig.json`` must be signed by the ring; False for files of others.

    Within a task prefer `airflow_mlsec.crypto.DecryptedArtifact`, which leaves nothing on disk.
    """

    template_fields: Sequence[str] = ("source", "target")
    ui_color = "#e8e1d4"

    def __init__(
        self,
        *,
        source: str,
        target: str,
        key: str = "artifact",
        verify: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.target = target
        self.key = key
        self.verify = verify
        self._declare_assets([source], [target])

    @property
    def linked_dataset(self) -> str:
        return self.target

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            source, target, keys = (
                file_path(self.source),
                file_path(self.target),
                self.hook.key_ring(),
            )
            if self.verify:
                verified(source, keys.verification_keys())
            live = keys.some_live(self.key)
            decrypt_file(source, target, [identity_of(key) for key in live], self._decrypted)
            return {"target": str(target), "bytes": target.stat().st_size}

    def _decrypted(self, done: int) -> None:
        self._progress(f"{done} bytes decrypted")


def verified(path: Path, trusted: VerificationKeys) -> tuple[str, dict[str, Any]]:
    """The digest of an artifact, and what its signature says of it.

    :raises DatasetNotFound: if the artifact or its signature is missing.
    :raises SignatureInvalid: if no trusted key signed just this file.
    """
    signature = path.with_name(f"{path.name}.sig.json")
    for wanted in (path, signature):
        if not wanted.is_file():
            raise DatasetNotFound(f"no file at {wanted}")
    try:
        envelope = json.loads(signature.read_bytes())
    except ValueError:
        raise SignatureInvalid(f"{signature} is not a DSSE envelope") from None
    digest = digest_file(path)
    statement = verify_statement(envelope, trusted, {path.name: digest})
    return digest, statement["predicate"]
