"""Decrypts an artifact after verifying its signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, cast

from airflow_mlsec.artifacts._verify import verified
from airflow_mlsec.crypto import Digesting, KeyRing, ServiceKey, decrypt, identity_of, unpacked
from airflow_mlsec.datasets import Artifact
from airflow_mlsec.errors import SignatureInvalid, UsageError


def decrypt_artifact(
    source: Artifact,
    target: Artifact,
    keys: KeyRing,
    key: str | None = "artifact",
    services: Sequence[str] = (),
    folder: bool = False,
    verify: bool = True,
    progress: Callable[[str], None] = lambda message: None,
) -> int:
    """Decrypt ``source`` into ``target``, which appears once all of it is verified; returns its number of bytes. With
    ``folder`` the archive in it is unpacked as a new local folder.

    :raises SignatureInvalid: if the ring did not sign exactly this file (unless ``verify`` is false), or it changed while
        it was read.
    :raises UsageError: if the target is the source, or a folder is not local.
    """
    digest = verified(source, keys.verification_keys())[0] if verify else None
    identities: list[Any] = [ServiceKey(uri) for uri in services]
    if key is not None:
        identities += [identity_of(version) for version in keys.some_live(key)]
    size = 0

    def decrypted(done: int) -> None:
        nonlocal size
        size = done
        progress(f"{done} bytes decrypted")

    with source.open() as sealed, _written(source, target, folder) as write:
        read = Digesting(sealed)
        decrypt(cast(BinaryIO, read), write, identities, decrypted)
        # The bytes that were read must be those that were verified.
        if digest is not None and read.sha256 != digest:
            raise SignatureInvalid(f"{source.uri} changed while it was read")
    return size


def _written(source: Artifact, target: Artifact, folder: bool) -> AbstractContextManager[BinaryIO]:
    if folder:
        if target.local is None:
            raise UsageError(f"{target.uri} is not local; a folder is unpacked to the local disk")
        return unpacked(target.local)
    if source.full_uri == target.full_uri:
        raise UsageError(f"source and target are the same file: {source.uri}")
    return target.replacing()
