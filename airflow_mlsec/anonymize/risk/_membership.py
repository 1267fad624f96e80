"""Membership lists: whose rows a release contains, without saying who they are.

Format ``airflow-mlsec/membership/1``: a line of JSON (format, subject kind, key name and
version, count), then the sorted 16-byte HMAC-SHA-256 (RFC 2104, truncated) of each subject's
canonical key, all of it encrypted with age to the key ring's own recipient. "Was this person in the
training set?" is one HMAC and one binary search.
"""

from __future__ import annotations

import bisect
import hashlib
import hmac
import io
import json
from pathlib import Path

import pyarrow as pa

from airflow_mlsec.crypto import (
    Key,
    KeyRing,
    decrypt,
    encrypt,
    identity_of,
    ring_key,
)
from airflow_mlsec.datasets import Artifact, as_artifact
from airflow_mlsec.errors import DatasetError, DatasetNotFound, SignatureInvalid
from airflow_mlsec.values import NormalForm, canonical_bytes

FORMAT = "airflow-mlsec/membership/1"
ENCRYPTION_KEY = "membership-lists"
# The key that the first lists were encrypted to.
_FORMER_KEY = "artifact"
_SIZE = 16


class MembershipCollector:
    """Collects the data subjects of the released rows."""

    def __init__(
        self, kind: str, column: str, keys: KeyRing, form: NormalForm | None = None
    ) -> None:
        self._kind = kind
        self._column = column
        self._keys = keys
        self._form = form
        self._key = keys.ensure(f"membership.{kind}")
        self._tags: set[bytes] = set()

    def add(self, values: pa.Array) -> None:
        """Add the subject keys of some released rows; nulls identify nobody."""
        values = values if self._form is None else self._form.of(values, self._column)
        for value in canonical_bytes(values, self._column).to_pylist():
            if value is not None:
                self._tags.add(_tag(self._key, value))

    def __len__(self) -> int:
        return len(self._tags)

    def save(self, place: Artifact | Path) -> None:
        """Write the list, encrypted to the ring's own key."""
        head = {
            "format": FORMAT,
            "subject_kind": self._kind,
            "key": self._key.name,
            "version": self._key.version,
            "count": len(self._tags),
        }
        plain = json.dumps(head).encode() + b"\n" + b"".join(sorted(self._tags))
        identity = identity_of(ring_key(self._keys, ENCRYPTION_KEY, ()))
        artifact = as_artifact(place)
        artifact.make_folder()
        with artifact.replacing() as target:
            encrypt(io.BytesIO(plain), target, [identity.recipient])


def is_member(
    place: Artifact | Path, sha256: str, kind: str, subject_key: str, keys: KeyRing
) -> bool:
    """Whether the subject with this key is on the list at ``place``.

    ``sha256`` is the file's digest from the signed evidence of the release: anybody can encrypt to
    the ring, so only the very list that was signed is trusted.

    :raises SignatureInvalid: if the file is a different one.
    :raises DecryptionFailed: if no live key of the ring opens it.
    :raises DatasetError: if it is not there, or not a membership list of this kind of subject.
    """
    artifact = as_artifact(place)
    try:
        sealed = artifact.read_bytes()
    except DatasetNotFound:
        raise DatasetError(f"membership list {artifact.uri} is gone") from None
    if hashlib.sha256(sealed).hexdigest() != sha256:
        raise SignatureInvalid(f"{artifact.uri} is not the membership list that was signed")
    names = ENCRYPTION_KEY, _FORMER_KEY
    identities = [identity_of(key) for name in names for key in keys.live(name)]
    plain = io.BytesIO()
    decrypt(io.BytesIO(sealed), plain, identities)
    first, _, tags = plain.getvalue().partition(b"\n")
    head = json.loads(first)
    right = head.get("format") == FORMAT and head["key"] == f"membership.{kind}"
    if not right or len(tags) != head["count"] * _SIZE:
        raise DatasetError(
            f"{artifact.uri} is not a membership list of subjects of kind '{kind}' ({FORMAT})"
        )
    wanted = _tag(keys.version(head["key"], head["version"]), subject_key.encode())
    found = bisect.bisect_left(_Tags(tags), wanted)
    return tags[found * _SIZE : (found + 1) * _SIZE] == wanted


class _Tags:
    """The list as a sequence, without splitting it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data) // _SIZE

    def __getitem__(self, i: int) -> bytes:
        return self._data[i * _SIZE : (i + 1) * _SIZE]


def _tag(key: Key, value: bytes) -> bytes:
    return hmac.digest(key.secret, value, "sha256")[:_SIZE]
