"""The digests of all protected rows, computed by a second process: the other half of verifying a large log.

The second process has its own view of the database. It is used only if both views have a log of the same size, which
every change of a protected row makes longer; what somebody changes behind the log's back between the two is found in
either view. Whatever goes wrong with the second process, the first computes the digests itself.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import sqlalchemy as sa

from airflow_mlsec.register._journal import PROTECTED, log_size, protected_rows
from airflow_mlsec.register._log_entries import Row, row_name, text_digest
from airflow_mlsec.register._register import Register

# Below that, starting Python takes longer than it saves.
_WORTHWHILE = 100_000
_CHUNK = 10_000
_HEAD = struct.Struct(">QQ")
_DIGEST_BYTES = 32


def row_digests(connection: sa.Connection) -> Iterator[tuple[Row, bytes]]:
    """Each protected row and the digest of its text."""
    for table in PROTECTED.values():
        for key, text in protected_rows(connection, table):
            yield row_name(table.name, key), text_digest(text)


class RowsBeside:
    """A second process that computes `row_digests` of a register while this one does something else."""

    def __init__(self, register: Register) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if register.read(log_size) >= _WORTHWHILE:
            command = [sys.executable, "-P", "-m", __name__]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
            )
            # The URL may contain a password: never an argument, which others can see.
            self._send(register.secret_url())
            if self._read(1) != b"\n":
                self.close()

    def __enter__(self) -> RowsBeside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            # Closes its pipes, and waits for its end.
            self._process.communicate()
            self._process = None

    def begin(self, connection: sa.Connection) -> None:
        """Let it begin, if what it sees is what ``connection`` sees."""
        self._send("begin")
        head = self._read(_HEAD.size)
        if len(head) < _HEAD.size or _HEAD.unpack(head)[0] != log_size(connection):
            self.close()

    def digests(self, connection: sa.Connection) -> Iterator[tuple[Row, bytes]]:
        """What `row_digests` returns, from the other process if it has them all."""
        yield from row_digests(connection) if (found := self._found()) is None else found

    def _found(self) -> Iterator[tuple[Row, bytes]] | None:
        """What it found, if that is complete."""
        head, parts = self._read(_HEAD.size), []
        while len(head) == _HEAD.size and any(sizes := _HEAD.unpack(head)):
            parts.append((self._read(sizes[0]), self._read(sizes[1])))
            head = self._read(_HEAD.size)
        complete = head == _HEAD.pack(0, 0)
        self.close()
        return _unpacked(parts) if complete else None

    def _send(self, line: str) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                given: IO[bytes] = self._process.stdin  # type: ignore[assignment]
                given.write(f"{json.dumps(line)}\n".encode())
                given.flush()

    def _read(self, size: int) -> bytes:
        return b"" if self._process is None else self._process.stdout.read(size)  # type: ignore[union-attr]


def _unpacked(parts: list[tuple[bytes, bytes]]) -> Iterator[tuple[Row, bytes]]:
    while parts:
        names, digests = parts.pop(0)
        starts = range(0, len(digests), _DIGEST_BYTES)
        split = [digests[start : start + _DIGEST_BYTES] for start in starts]
        yield from zip(names.decode(errors="surrogatepass").split("\n"), split, strict=True)


def _packed(found: list[tuple[Row, bytes]]) -> bytes:
    # A row's name is JSON in one line.
    names = "\n".join([row for row, _ in found]).encode(errors="surrogatepass")
    digests = b"".join([digest for _, digest in found])
    return _HEAD.pack(len(names), len(digests)) + names + digests


def _serve(given: IO[bytes], result: IO[bytes]) -> None:
    """The second process: the URL, then `begin`, then everything that was found."""
    register = Register(json.loads(given.readline()))
    register.read(log_size)
    result.write(b"\n")
    result.flush()
    given.readline()

    def work(connection: sa.Connection) -> list[bytes]:
        result.write(_HEAD.pack(log_size(connection), 0))
        result.flush()
        parts, part = list[bytes](), list[tuple[Row, bytes]]()
        for row in row_digests(connection):
            part.append(row)
            if len(part) == _CHUNK:
                parts.append(_packed(part))
                part = []
        return [*parts, *([_packed(part)] if part else ())]

    # Written at the end, since the first process reads nothing before: a full pipe would stop this one.
    for part in register.snapshot(work):
        result.write(part)
    result.write(_HEAD.pack(0, 0))
    result.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
