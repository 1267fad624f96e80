"""A key ring in an object in a bucket: workers that share only a database and an object store use the same ring.

The object has the ring, a mark of how far the ring had grown, and the root key if a key service has wrapped it. A change
states which version of the object it read (``If-Match``, RFC 9110, section 13.1.1): if the object has changed since then,
nothing is written, and the change is tried again. Older versions that a versioned bucket kept of the object are removed,
because they may contain a secret that was destroyed.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fsspec.asyn import sync

from airflow_mlsec.crypto import opened_root, wrapped_root
from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    erase_versions,
    object_of,
    old_versions,
)
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CryptoError,
    DatasetError,
    KeyNotFound,
    MlsecError,
    SettingError,
    UsageError,
)

Result = TypeVar("Result")
_FORMAT = "airflow-mlsec/ring-object/1"
_PARTS = ("ring", "newest", "root")
# How long a change is retried while other writers are faster, in seconds.
_PATIENCE = 60.0
# Error codes of stores if a condition does not hold, or another write is in progress.
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class _Conflict(Exception):
    """Somebody else has changed the object since it was read."""


@dataclass
class _Change:
    """A change of the ring in progress: what was read, with its ETag, and what will be written for the first time."""

    seen: tuple[dict[str, bytes], str | None] | None = None
    first: dict[str, bytes] | None = None


class ObjectStore:
    """The ring in an object: ``s3://bucket/path/ring.json``, or ``s3://conn_id@bucket/…`` with a connection. See
    `crypto.RingStore`."""

    def __init__(self, uri: str, connections: Connections | None = None) -> None:
        self._uri, self._connections = uri, connections or EnvironmentConnections()
        # A change belongs to the thread that makes it: other threads read the stored object.
        self._mine = threading.local()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStore) and other._uri == self._uri

    def __hash__(self) -> int:
        return hash(self._uri)

    @property
    def where(self) -> str:
        return self._uri

    @property
    def folder(self) -> Path | None:
        return None

    def exists(self) -> bool:
        return "ring" in self._parts()

    def change(self, work: Callable[[], Result]) -> Result:
        if self._change is not None:
            return work()
        until = time.monotonic() + _PATIENCE
        while True:
            self._mine.change = mine = _Change()
            try:
                made = work()
                if mine.first is not None:
                    self._refuse_to_replace()
                    self._refuse_without_conditions(mine.first)
                    self._put(mine, mine.first)
                # Even if nothing was written: an earlier change may have been interrupted after its write.
                self._remove_what_was()
                return made
            except _Conflict:
                if time.monotonic() > until:
                    raise ChangedMeanwhile(
                        f"{self._uri} was changed by others repeatedly; try later"
                    ) from None
                time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - not a secret
            finally:
                self._mine.change = None

    @property
    def _change(self) -> _Change | None:
        found: _Change | None = getattr(self._mine, "change", None)
        return found

    def read(self) -> bytes:
        return self._part("ring")

    def newest(self) -> bytes | None:
        return self._parts().get("newest")

    def write(self, ring: bytes, newest: bytes) -> None:
        self._set(ring=ring, newest=newest)

    def has_root(self) -> bool:
        return "root" in self._parts()

    def root(self) -> bytes:
        return opened_root(self._part("root"), self._uri)

    def keep_root(self, root: bytes, service: str | None) -> None:
        if service is None:
            raise UsageError(
                "a key ring in a bucket cannot hold its own root key: anyone who reads the bucket would have all keys. Give "
                "[mlsec] root_key, root_key_file or root_key_service"
            )
        self._set(root=wrapped_root(root, service))

    def forget_plain_root(self, root: bytes) -> None:
        """Nothing to do: a root key is never kept here in plain form."""

    def _part(self, name: str) -> bytes:
        found = self._parts().get(name)
        if found is None:
            raise KeyNotFound(f"no key ring in {self._uri}; `mlsec keys init` makes one")
        return found

    def _parts(self) -> dict[str, bytes]:
        mine = self._change
        if mine is not None and mine.first is not None:
            return mine.first
        found = self._get()
        if mine is not None:
            if mine.seen is not None and mine.seen[1] != found[1]:
                raise _Conflict
            mine.seen = found
        return found[0]

    def _set(self, **parts: bytes) -> None:
        mine = self._change
        if mine is None:
            raise CryptoError(f"{self._uri} is changed only within `change`")
        made = {**self._parts(), **parts}
        if mine.seen is not None and mine.seen[1] is None:
            # If creating a ring fails, nothing is left behind.
            mine.first = made
        else:
            # Written now: a key must be stored before anything about it is recorded elsewhere.
            self._put(mine, made)

    def _get(self) -> tuple[dict[str, bytes], str | None]:
        filesystem, bucket, key = self._reached()
        try:
            answer = filesystem.call_s3("get_object", Bucket=bucket, Key=key)
            body = sync(filesystem.loop, answer["Body"].read)
        except Exception as error:  # of the store's client, which is not a dependency
            if _code(error) in ("NoSuchKey", "404"):
                return {}, None
            raise self._refused("read", error) from None
        try:
            said = json.loads(body)
            if said.get("format") != _FORMAT or not set(said) <= {"format", *_PARTS}:
                raise ValueError
            return {
                n: base64.b64decode(said[n], validate=True) for n in _PARTS if n in said
            }, answer["ETag"]
        except (ValueError, TypeError, AttributeError, binascii.Error):
            raise CryptoError(
                f"{self._uri} is not a key ring, or is damaged: restore it from its backup"
            ) from None

    def _put(self, mine: _Change, parts: dict[str, bytes]) -> None:
        filesystem, bucket, key = self._reached()
        assert mine.seen is not None
        body, before = _document(parts), mine.seen[1]
        condition = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before}
        try:
            answer = filesystem.call_s3(
                "put_object", Bucket=bucket, Key=key, Body=body, **condition
            )
        except Exception as error:
            if _code(error) in _CONFLICTS:
                raise _Conflict from None
            raise self._refused("written", error) from None
        mine.first, mine.seen = None, (parts, answer["ETag"])

    def _remove_what_was(self) -> None:
        """Remove old versions of the object, which may contain a key that was destroyed."""
        try:
            erase_versions(self._uri, old_versions(self._uri, self._connections), self._connections)
        except DatasetError as error:
            raise CryptoError(
                f"the key ring was changed, but older versions that the bucket may keep could not be removed: {error}. A "
                "key that was destroyed may be in them: remove old versions of the object"
            ) from None

    def _refuse_to_replace(self) -> None:
        """:raises CryptoError: if the bucket has old versions of a ring that was removed: a new one would erase them."""
        try:
            before = old_versions(self._uri, self._connections)
        except DatasetError as error:
            raise CryptoError(f"the key ring cannot be made: {error}") from None
        if before:
            raise CryptoError(
                f"{self._uri} was removed, and the bucket still has {len(before)} versions of it: restore the newest, or remove "
                "them if none of their keys is needed any more"
            )

    def _refuse_without_conditions(self, parts: dict[str, bytes]) -> None:
        """A store that ignores write conditions would let two writers of the ring lose each other's keys. Tested on a
        separate object before a ring is created.

        :raises SettingError: if this store does so.
        """
        filesystem, bucket, key = self._reached()
        probe = {"Bucket": bucket, "Key": f"{key}.probe-{secrets.token_hex(8)}"}
        body = _document(dict.fromkeys(parts, b""))
        try:
            filesystem.call_s3("put_object", **probe, Body=body)
            for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
                try:
                    filesystem.call_s3("put_object", **probe, Body=body, **condition)
                except Exception as error:
                    if _code(error) in _CONFLICTS:
                        continue
                    raise
                raise SettingError(
                    f"[mlsec] key_ring: the store of {self._uri} ignores conditions of a write (If-Match, If-None-Match), so "
                    "that workers would lose each other's keys: use `register:`, or a store that heeds them"
                )
            filesystem.call_s3("delete_object", **probe)
        except MlsecError:
            raise
        except Exception as error:
            raise self._refused("written", error) from None

    def _reached(self) -> tuple[Any, str, str]:
        try:
            return object_of(self._uri, self._connections)
        except DatasetError as error:
            raise SettingError(f"[mlsec] key_ring: {error}") from None

    def _refused(self, what: str, error: Exception) -> CryptoError:
        code = _code(error) or type(error).__name__
        return CryptoError(f"the key ring {self._uri} cannot be {what} ({code})")


def _document(parts: dict[str, bytes]) -> bytes:
    text = {name: base64.b64encode(parts[name]).decode() for name in _PARTS if name in parts}
    return json.dumps({"format": _FORMAT, **text}).encode()


def _code(error: Exception) -> str:
    """The error code of the store; its message may quote more."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code", ""))
    return "NoSuchKey" if isinstance(error, FileNotFoundError) else ""
