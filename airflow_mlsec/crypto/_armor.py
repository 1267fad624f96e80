"""The ASCII armor of age files (C2SP ``age.md``, section "ASCII armor"; strict PEM of RFC 7468, section 3).

One spelling only, so that an armored file cannot be changed without being noticed: full lines of 64
characters, canonical base64, nothing before and after but white space. Lines may end in LF or CRLF.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any, BinaryIO

from airflow_mlsec.crypto._header import VERSION, Malformed

BEGIN, END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
_LINE = 64
_BYTES_OF_LINE = 48
_WHITE = b" \t\r\n"
# White space that is skipped before the armor, at most.
_MOST_WHITE = 1024
_LINES = 1024
_BUFFER = 2**16


class ArmorWriter:
    """Writes what it is given as armor; `finish` ends it."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._left = bytearray()
        target.write(BEGIN + b"\n")

    def write(self, data: Any) -> int:
        """Accept some more of the file."""
        self._left += data
        whole = len(self._left) - len(self._left) % _BYTES_OF_LINE
        # A full last line is ended like any other.
        for start in range(0, whole, _BYTES_OF_LINE * _LINES):
            self._target.write(
                _lines(self._left[start : min(start + _BYTES_OF_LINE * _LINES, whole)])
            )
        del self._left[:whole]
        return len(data)

    def finish(self) -> None:
        """Write what is left, and the end."""
        self._target.write(_lines(self._left) + END + b"\n")
        self._left.clear()


class ArmorReader(io.RawIOBase):
    """The file within an armor."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self._ready = bytearray()
        self._short = self._done = False
        self._begin()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some more of the file.

        :raises Malformed: if the armor is not spelled as required.
        """
        view = memoryview(buffer)
        while not self._ready and not self._done:
            self._line()
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        del self._ready[:count]
        return count

    def _begin(self) -> None:
        looked = 0
        while looked <= _MOST_WHITE:
            line = self._next()
            if line.lstrip(_WHITE) == BEGIN:
                return
            if line.strip(_WHITE):
                break
            looked += len(line) + 1
        raise Malformed

    def _line(self) -> None:
        line = self._next()
        if line == END:
            self._end()
            return
        # Only the last line may be shorter, and none is empty.
        if self._short or not line or len(line) > _LINE or len(line) % 4:
            raise Malformed
        self._short = len(line) < _LINE
        try:
            data = base64.b64decode(line, validate=True)
        except (binascii.Error, ValueError):
            raise Malformed from None
        if base64.b64encode(data) != line or (b"=" in line and not self._short and len(data) == 48):
            raise Malformed
        self._short = self._short or len(data) < _BYTES_OF_LINE
        self._ready += data

    def _end(self) -> None:
        while rest := self._source.read(4096):
            if rest.strip(_WHITE):
                raise Malformed
        self._done = True

    def _next(self) -> bytes:
        """A line without its end; the last one may have none."""
        line = self._source.readline(_MOST_WHITE + 2)
        if not line or (not line.endswith(b"\n") and len(line) > _MOST_WHITE):
            raise Malformed
        if line.endswith(b"\r\n"):
            return line[:-2]
        return line[:-1] if line.endswith(b"\n") else line


def opened(source: BinaryIO) -> BinaryIO:
    """The stream of an age file, without its armor if it has one. Reads a few bytes ahead."""
    head = source.read(len(VERSION))
    rest = io.BufferedReader(_Ahead(head, source), _BUFFER)
    if head.startswith(VERSION[:8]) or not head:
        return rest
    return io.BufferedReader(ArmorReader(rest), _BUFFER)


class _Ahead(io.RawIOBase):
    """A stream whose first bytes have already been read."""

    def __init__(self, head: bytes, source: BinaryIO) -> None:
        super().__init__()
        self._head, self._source = head, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._head:
            count = min(len(view), len(self._head))
            view[:count] = self._head[:count]
            self._head = self._head[count:]
            return count
        readinto = getattr(self._source, "readinto", None)
        if readinto is not None:
            return int(readinto(view) or 0)
        data = self._source.read(len(view))
        view[: len(data)] = data
        return len(data)


def _lines(data: bytes | bytearray) -> bytes:
    text = base64.b64encode(data)
    return b"".join(text[i : i + _LINE] + b"\n" for i in range(0, len(text), _LINE))
