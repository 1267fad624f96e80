"""Streams whose digest is computed while they are read or written, so nothing is read twice."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

from airflow_mlsec.crypto._payload import fill

_BLOCK = 1 << 20


class Digesting:
    """A stream around another one; ``sha256`` is of all that went through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Read from the stream."""
        data = self._stream.read(size)
        self._seen(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are, up to the buffer's length."""
        view = memoryview(buffer)
        count = fill(self._stream, view)
        self._seen(view[:count])
        return count

    def write(self, data: Any) -> int:
        """Write to the stream."""
        self._seen(data)
        return self._stream.write(data)

    def _seen(self, data: Any) -> None:
        self._hash.update(data)
        self.bytes += len(data)


def digest_stream(stream: BinaryIO) -> str:
    """SHA-256 of a stream from its current position, hexadecimal."""
    digesting = Digesting(stream)
    buffer = bytearray(_BLOCK)
    while digesting.readinto(buffer):
        continue
    return digesting.sha256
