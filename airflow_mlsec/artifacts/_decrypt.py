"""Decrypts an artifact after verifying its signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, cast

from airflow_mlsec.artifacts._verify import verified
from airflow_mlsec.crypto import (
    UNPACK_LIMITS,
    Digesting,
    KeyRing,
    ServiceKey,
    Trusted,
    UnpackLimits,
    decrypt,
    identity_of,
    unpacked,
)
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
    signed_by: Trusted | None = None,
    limits: UnpackLimits = UNPACK_LIMITS,
    progress: Callable[[str], None] = lambda message: None,
) -> int:
    """Decrypt ``source`` into ``target``, which appears once all of it is verified; returns its number of bytes. With
    ``folder`` the archive in it is unpacked as a new local folder.

    :param signed_by: Who must have signed it; the ring, if it is not given.
    :param limits: How much an archive may become.
    :raises SignatureInvalid: if whoever must have signed it did not sign exactly this file (unless ``verify`` is false),
        or it changed while it was read.
    :raises UsageError: if the target is the source, a folder is not local, or a signer is given and not verified.
    """
    if signed_by is not None and not verify:
        raise UsageError(
            "a signer is required, and the signature is not to be verified: choose one"
        )
    trusted = signed_by if signed_by is not None else keys.verification_keys()
    digest = verified(source, trusted)[0] if verify else None
    identities: list[Any] = [ServiceKey(uri) for uri in services]
    if key is not None:
        identities += [identity_of(version) for version in keys.some_live(key)]
    size = 0

    def decrypted(done: int) -> None:
        nonlocal size
        size = done
        progress(f"{done} bytes decrypted")

    with source.open() as sealed, _written(source, target, folder, limits) as write:
        read = Digesting(sealed)
        decrypt(cast(BinaryIO, read), write, identities, decrypted)
        # The bytes that were read must be those that were verified.
        if digest is not None and read.sha256 != digest:
            raise SignatureInvalid(f"{source.uri} changed while it was read")
    return size


def _written(
    source: Artifact, target: Artifact, folder: bool, limits: UnpackLimits
) -> AbstractContextManager[BinaryIO]:
    if folder:
        if target.local is None:
            raise UsageError(f"{target.uri} is not local; a folder is unpacked to the local disk")
        return unpacked(target.local, limits)
    if source.full_uri == target.full_uri:
        raise UsageError(f"source and target are the same file: {source.uri}")
    return target.replacing()
