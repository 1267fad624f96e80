"""Signatures of model folders in the format of the OpenSSF's model signing: every file's digest, in a
DSSE envelope, in a Sigstore bundle. Its own tool verifies them, offline:

    model_signing verify key FOLDER --signature FOLDER.model.sig --public_key key.pem

Source: https://github.com/ossf/model-signing-spec, version 1.0; it signs with ECDSA. Files that
belong to git are left out by its rules; no other rules leave out files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_mlsec import files
from airflow_mlsec.crypto._ring import Key
from airflow_mlsec.crypto._ring_file import KeyKind
from airflow_mlsec.crypto._signatures import Trusted, public_half
from airflow_mlsec.crypto._statement import (
    STATEMENT_TYPE,
    digest_file,
    sign_payload,
    verify_payload,
)
from airflow_mlsec.errors import DatasetError, DatasetNotFound, KeyNotFound, SignatureInvalid

SUFFIX = ".model.sig"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_LEFT_OUT = (".git", ".gitattributes", ".github", ".gitignore")
_FILES_OF_GIT = (".gitattributes", ".gitignore")
_METHOD: dict[str, Any] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
_MOST_NAMED = 3


def sign_model(
    folder: Path,
    key: Key,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """The bundle that signs every file below ``folder``.

    :raises KeyNotFound: if the key is not an ECDSA key.
    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it.
    """
    if key.kind is not KeyKind.ECDSA:
        raise KeyNotFound(
            f"key '{key.name}' is of kind {key.kind}; models are signed with {KeyKind.ECDSA}"
        )
    statement = model_statement(folder, provenance, progress)
    envelope = sign_payload(statement, STATEMENT_TYPE, key)
    pem = public_half(key.kind, key.secret).pem
    return {
        "mediaType": _BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(pem.encode()).hexdigest()},
            "tlogEntries": [],
        },
        # Their tool does not know our key ids.
        "dsseEnvelope": {**envelope, "signatures": [{**envelope["signatures"][0], "keyid": ""}]},
    }


def model_statement(
    folder: Path,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> bytes:
    """The statement with the digest of every file below ``folder``, to be signed.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it.
    """
    digests = _digests(folder, progress)
    serialization: dict[str, Any] = dict(_METHOD, ignore_paths=list(_LEFT_OUT))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": folder.resolve().name, "digest": {"sha256": _root(digests)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": serialization,
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest}
                for name, digest in digests.items()
            ],
            # Verifiers of version 1.0 ignore other fields.
            **({"provenance": dict(provenance)} if provenance else {}),
        },
    }
    return json.dumps(statement, sort_keys=True).encode()


def verify_model(
    folder: Path,
    bundle: Any,
    trusted: Trusted,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """The verified statement, if the folder is exactly what was signed.

    :raises SignatureInvalid: if nobody trusted signed it, or a file is changed, missing, or was not signed.
    :raises DatasetNotFound: if there is no such folder.
    """
    payload = verify_payload(bundle, STATEMENT_TYPE, trusted)
    try:
        statement: dict[str, Any] = json.loads(payload)
        predicate = statement["predicate"]
        [subject] = statement["subject"]
        signed = {str(item["name"]): str(item["digest"]) for item in predicate["resources"]}
        known = statement["predicateType"] == _PREDICATE and all(
            predicate["serialization"].get(name) == value for name, value in _METHOD.items()
        )
        known &= {
            str(path).strip("/") for path in predicate["serialization"].get("ignore_paths", ())
        } <= set(_LEFT_OUT)
        known &= all(item["algorithm"] == "sha256" for item in predicate["resources"])
        known &= len(signed) == len(predicate["resources"])
        root = subject["digest"]["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SignatureInvalid("what was signed is not a model") from None
    if not known:
        raise SignatureInvalid(
            "the model was signed in a way that is not known here, or with files left out"
        )
    found = _digests(folder, progress)
    for problem, names in (
        ("changed", [name for name in found if name in signed and found[name] != signed[name]]),
        ("missing", sorted(set(signed) - set(found))),
        ("not signed", sorted(set(found) - set(signed))),
    ):
        if names:
            shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
            raise SignatureInvalid(
                f"{folder.name} is not the model that was signed: {problem}: {shown}"
            )
    if root != _root(signed):
        raise SignatureInvalid(
            "the signature contradicts itself: its root digest is of other files"
        )
    return statement


def _root(digests: Mapping[str, str]) -> str:
    joined = b"".join(bytes.fromhex(digest) for digest in digests.values())
    return hashlib.sha256(joined).hexdigest()


def _digests(folder: Path, progress: Callable[[str], None]) -> dict[str, str]:
    """The digest of each file, in the order of their paths."""
    if not folder.is_dir() or folder.is_symlink():
        raise DatasetNotFound(f"{folder}: no such folder")
    names = []
    try:
        for path in files.everything_below(folder):
            name = path.relative_to(folder)
            left_out = name.parts[0] in _LEFT_OUT
            # A folder with the name of one of git's files is not git's.
            if left_out and len(name.parts) > 1 and name.parts[0] in _FILES_OF_GIT:
                left_out = False
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise DatasetError(f"{path} is neither a plain file nor a folder; it is not signed")
            if path.is_file() and not left_out:
                names.append(PurePosixPath(name.as_posix()))
        return _digests_of(folder, names, progress)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read as a whole ({error.strerror})") from None


def _digests_of(
    folder: Path, names: Sequence[PurePosixPath], progress: Callable[[str], None]
) -> dict[str, str]:
    found = {}
    for relative in sorted(names):
        progress(f"digest of {relative}")
        found[str(relative)] = digest_file(folder / relative)
    return found
