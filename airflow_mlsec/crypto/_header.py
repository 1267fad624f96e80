"""The header of an age v1 file: version line, recipient stanzas, MAC.

Source: C2SP ``age.md`` (https://c2sp.org/age). The parser accepts exactly what the
specification allows: one spelling for every header.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

VERSION = b"age-encryption.org/v1\n"
_ARGUMENT = re.compile(rb"[\x21-\x7e]+\Z")
# Enough for ten thousand hybrid recipients; what is read before a key is known must have a limit.
MOST_HEADER_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Stanza:
    """One wrapped copy of the file key."""

    type: str
    arguments: tuple[str, ...]
    body: bytes

    def encode(self) -> bytes:
        text = encode_base64(self.body)
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        if not lines or len(lines[-1]) == 64:
            lines.append(b"")
        head = " ".join(("->", self.type, *self.arguments)).encode()
        return b"\n".join([head, *lines]) + b"\n"


@dataclass(frozen=True)
class Header:
    """A parsed header; ``authenticated`` is what the MAC covers, ``mac`` its value."""

    stanzas: tuple[Stanza, ...]
    authenticated: bytes
    mac: bytes


class Malformed(ValueError):
    """Not an age v1 header. Never leaves the package: callers see `DecryptionFailed`."""


def encode_base64(data: bytes) -> bytes:
    """Standard alphabet, no padding (RFC 4648, section 3.2 and 4)."""
    return base64.b64encode(data).rstrip(b"=")


def decode_base64(text: bytes) -> bytes:
    """Canonical unpadded base64 only.

    :raises Malformed: on any other spelling.
    """
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise Malformed from None
    if b"=" in text or encode_base64(data) != text:
        raise Malformed
    return data


def encode_authenticated(stanzas: tuple[Stanza, ...]) -> bytes:
    """The header up to and including ``---``, which the MAC covers."""
    return VERSION + b"".join(stanza.encode() for stanza in stanzas) + b"---"


def read_header(source: BinaryIO) -> Header:
    """Read a header; ``source`` is then positioned at the payload.

    :raises Malformed: if it is not exactly a valid header.
    """
    read = _Lines(source)
    if read.line() != VERSION[:-1]:
        raise Malformed
    stanzas: list[Stanza] = []
    line = read.line()
    while line.startswith(b"-> "):
        stanzas.append(_stanza(line, read))
        line = read.line()
    if not stanzas or not line.startswith(b"--- "):
        raise Malformed
    mac = decode_base64(line[4:])
    if len(mac) != 32:
        raise Malformed
    return Header(tuple(stanzas), encode_authenticated(tuple(stanzas)), mac)


def read_stanzas(source: IO[bytes]) -> Iterator[Stanza]:
    """Stanzas for as long as there are any, as a plugin writes them.

    :raises Malformed: if something else comes, or the stream ends.
    """
    read = _Lines(source)
    while True:
        yield _stanza(read.line(), read)


def _stanza(first: bytes, read: _Lines) -> Stanza:
    """The stanza whose first line was read."""
    parts = first[3:].split(b" ")
    if not first.startswith(b"-> ") or not all(_ARGUMENT.match(part) for part in parts):
        raise Malformed
    lines = []
    while True:
        text = read.line()
        if len(text) > 64:
            raise Malformed
        lines.append(text)
        if len(text) < 64:
            break
    names = [part.decode("ascii") for part in parts]
    return Stanza(names[0], tuple(names[1:]), decode_base64(b"".join(lines)))


class _Lines:
    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.left = MOST_HEADER_BYTES

    def line(self) -> bytes:
        line = self.source.readline(min(self.left, 65536) + 1)
        self.left -= len(line)
        if not line.endswith(b"\n") or self.left < 0:
            raise Malformed
        return line[:-1]
