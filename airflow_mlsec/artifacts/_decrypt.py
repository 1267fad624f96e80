"""Decrypts an artifact after verifying its signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast

from airflow_mlsec.artifacts._verify import require_current, verified
from airflow_mlsec.crypto import (
    UNPACK_LIMITS,
    Digesting,
    Trusted,
    UnpackLimits,
    Unwraps,
    decrypt,
    unpacked,
)
from airflow_mlsec.datasets import Artifact
from airflow_mlsec.errors import SignatureInvalid, UsageError
from airflow_mlsec.register import Register


def decrypt_artifact(
    source: Artifact,
    target: Artifact,
    identities: Sequence[Unwraps],
    trusted: Trusted | None,
    register: Register,
    version: int | None = None,
    folder: bool = False,
    limits: UnpackLimits = UNPACK_LIMITS,
    progress: Callable[[str], None] = lambda message: None,
) -> int:
    """Decrypt ``source`` into ``target``, which appears once all of it is verified; returns its number of bytes. With
    ``folder`` the archive in it is unpacked as a new local folder.

    :param identities: Any of which may open it.
    :param trusted: Who must have signed it; None for files from others, of which nothing is verified.
    :param version: Which version it must be; by default the newest that the register knows in its place.
    :param limits: How much an archive may become.
    :raises SignatureInvalid: if whoever must have signed it did not sign exactly this file, or it changed while it was read.
    :raises CheckFailed: if it has expired, or is of another version.
    :raises UsageError: if the target is the source, a folder is not local, or a version is demanded and nothing verified.
    """
    if trusted is None and version is not None:
        raise UsageError(
            "a version is required, and the signature is not to be verified: choose one"
        )
    digest: str | None = None
    if trusted is not None:
        digest, said = verified(source, trusted)
        require_current(source, digest, said, version, register)
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


@contextmanager
def _written(
    source: Artifact, target: Artifact, folder: bool, limits: UnpackLimits
) -> Iterator[BinaryIO]:
    if folder:
        if target.local is None:
            raise UsageError(f"{target.uri} is not local; a folder is unpacked to the local disk")
        with target.folder_made(), unpacked(target.local, limits) as write:
            yield write
        return
    if source.full_uri == target.full_uri:
        raise UsageError(f"source and target are the same file: {source.uri}")
    with target.replacing() as write:
        yield write
