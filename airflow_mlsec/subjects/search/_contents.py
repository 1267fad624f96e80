"""The content of a file, whatever its name: rows of tables, or bytes of text.

A file is recognised by its content. Compressed content is unpacked; content that cannot be read (encrypted, of an
unknown format, damaged) is reported, since finding nothing there proves nothing.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import lzma
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlsec.ledger import Reason
from airflow_mlsec.subjects.search import _reasons as reasons

_CHUNK = 4 << 20
_SAMPLE = 1 << 16
_ROWS = 65_536
_HEAD = 64
# Archives within archives.
_DEEPEST = 3
# In `marshal`: short ASCII text, and other text and bytes, with or without the flag for later references.
_SHORT_TEXT = re.compile(rb"(?=[zZ\xfa\xda](.))", re.DOTALL)
_LONG_TEXT = re.compile(rb"(?=[aAuts\xe1\xc1\xf5\xf4\xf3](..[\x00-\x0f]\x00))", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_ENCRYPTED = (
    b"age-encryption.org/", b"-----BEGIN AGE", b"-----BEGIN PGP", b"-----BEGIN CMS", b"-----BEGIN PKCS7",
    b"-----BEGIN ENCRYPTED", b"PARE", b"Salted__", b"U2FsdGVkX1", b"$ANSIBLE_VAULT", b"gAAAAA",
)  # fmt: skip
# XML and HTML, in which tags may split a word; and the mail header for encoded text.
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[?!a-zA-Z]")
_SHIFTED = re.compile(rb"\x1b[$(]|[\x0e\x0f]")
_TAG = re.compile(rb"<[^<>]*>")
_MAIL = re.compile(rb"(?im)^content-transfer-encoding:\s*(?:base64|quoted-printable)")
# For text that is not UTF-8: with a smaller share of ASCII, even the letters are encoded.
_PLAIN = 0.5
_PRINTED = re.compile(rb"[\x20-\x7e\s]")

_ERRORS = (
    pa.ArrowException, OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zlib.error,
    lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError, sqlite3.Error,
)  # fmt: skip


@dataclass
class Contents:
    """The content of a file, piece by piece. After reading to the end, ``unread`` says what could not be
    read."""

    spend: Callable[[int], None]
    unread: list[Reason] = field(default_factory=list)
    # Whether some of it is text in which the encoding of letters beyond ASCII is not known.
    unsure_letters: bool = False

    def of(self, file: BinaryIO, size: int) -> Iterator[pa.RecordBatch | bytes]:
        """Rows, or chunks of bytes of one text after another (an empty chunk ends a text)."""
        self.spend(size)
        yield from self._any(file, 0)

    def _any(self, file: Any, depth: int) -> Iterator[pa.RecordBatch | bytes]:
        head = file.read(_HEAD)
        try:
            yield from self._recognised(file, head, depth)
        except _ERRORS as error:
            # Its message may quote a value.
            self._cannot(reasons.Damaged(type(error).__name__))
        yield b""

    def _recognised(self, file: Any, head: bytes, depth: int) -> Iterator[pa.RecordBatch | bytes]:
        if head.startswith(_ENCRYPTED):
            self._cannot(reasons.Encrypted())
            return
        unpacked = _unpacked(head)
        if unpacked is not None or head.startswith(b"PK\x03\x04"):
            if depth >= _DEEPEST:
                self._cannot(reasons.ArchiveInArchive())
                return
            # Unpackers do not read bytes before, between and after the packed content.
            yield from self._plain(file)
            file.seek(0)
            if unpacked is None:
                yield from self._archive(file, depth)
                return
            with unpacked(file) as inside:
                yield from self._any(_Counted(inside, self.spend), depth + 1)
            return
        tables = _tables(head)
        if tables is not None and depth == 0:
            file.seek(0)
            yield from tables(file)
            file.seek(0)
            yield b"\n".join(_notes(head, file))
            yield b""
            return
        if tables is not None:
            self._cannot(reasons.TableInArchive())
        if _is_byte_code(head):
            # Its constants are stored unchanged, each after its length.
            yield from _constants(head + file.read())
            return
        yield from self._bytes(file, head)

    def _plain(self, file: Any) -> Iterator[bytes]:
        """All bytes of a packed file, unchanged."""
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk
        yield b""

    def _archive(self, file: BinaryIO, depth: int) -> Iterator[pa.RecordBatch | bytes]:
        with zipfile.ZipFile(file) as archive:
            yield archive.comment
            for member in archive.infolist():
                yield b""
                yield member.filename.encode("utf-8", "replace") + b"\n" + member.comment
                yield b""
                if member.is_dir():
                    continue
                if member.flag_bits & 1:
                    self._cannot(reasons.Encrypted())
                    continue
                with archive.open(member) as inside:
                    yield from self._any(_Counted(inside, self.spend), depth + 1)

    def _bytes(self, file: Any, head: bytes) -> Iterator[bytes]:
        """Bytes, unchanged. Bytes that are not text are reported, since encoded content is not seen."""
        decoder, utf8, controls = codecs.getincrementaldecoder("utf-8")(), True, False
        chunk = head + file.read(_CHUNK)
        if coding := _wide(chunk):
            wide = codecs.getincrementaldecoder(coding)("replace")
            while chunk:
                yield wide.decode(chunk).encode("utf-8", "replace")
                chunk = file.read(_CHUNK)
            # A program may append in another encoding than the start of the file.
            yield b""
            yield from self._plain(file)
            return
        marked = _MARKUP.match(chunk) is not None
        while chunk:
            if _MAIL.search(chunk):
                self._cannot(reasons.MailParts())
            # In seven-bit encodings, other letters follow such an escape sequence (ISO 2022).
            self.unsure_letters = self.unsure_letters or _SHIFTED.search(chunk) is not None
            controls = controls or _CONTROL.search(chunk) is not None
            if utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    utf8 = False
                    printed = len(_PRINTED.findall(chunk[:_SAMPLE]))
                    controls = controls or printed < _PLAIN * len(chunk[:_SAMPLE])
            yield chunk
            chunk = file.read(_CHUNK)
        self.unsure_letters = self.unsure_letters or not utf8
        if marked:
            yield b""
            file.seek(0)
            yield from _without_tags(iter(lambda: file.read(_CHUNK), b""))
        if controls:
            self._cannot(reasons.NoKnownFormat())

    def _cannot(self, why: Reason) -> None:
        if why not in self.unread:
            self.unread.append(why)


def _is_byte_code(head: bytes) -> bool:
    """Whether a file is a compiled Python module (PEP 3147): a version number and a line end."""
    number, flags = int.from_bytes(head[:2], "little"), int.from_bytes(head[4:8], "little")
    return head[2:4] == b"\r\n" and 3000 <= number < 4000 and flags <= 3 and len(head) >= 16


def _constants(code: bytes) -> Iterator[bytes]:
    """The texts in a compiled module, as Python's `marshal` writes them, and possibly some false matches."""
    for match in _SHORT_TEXT.finditer(code):
        yield code[match.end(1) : match.end(1) + match[1][0]] + b"\n"
    for match in _LONG_TEXT.finditer(code):
        yield code[match.end(1) : match.end(1) + int.from_bytes(match[1], "little")] + b"\n"


def _without_tags(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Markup without its tags: in spreadsheets and documents, tags may split a word."""
    left = b""
    for chunk in chunks:
        text = left + chunk
        at = text.rfind(b"<")
        # A tag may continue in the next chunk; anything longer than a possible tag is not one.
        cut = at if at >= 0 and b">" not in text[at:] and len(text) - at < _SAMPLE else len(text)
        yield _TAG.sub(b"", text[:cut])
        left = text[cut:]
    yield left


def _wide(head: bytes) -> str | None:
    """The encoding of text with more than one byte per letter, from its byte order mark."""
    for mark, coding in (
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return coding
    return None


class _Counted:
    """A stream that counts what was unpacked: a small archive may hold more than the budget allows."""

    def __init__(self, file: Any, spend: Callable[[int], None]) -> None:
        self._file, self._spend = file, spend

    def read(self, size: int) -> bytes:
        found: bytes = self._file.read(size)
        self._spend(len(found))
        return found

    def seek(self, to: int) -> None:
        self._file.seek(to)


def _unpacked(head: bytes) -> Callable[[Any], Any] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return lambda file: bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\0"):
        return lambda file: lzma.LZMAFile(file)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return lambda file: contextlib.closing(
            pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
        )
    return None


def _tables(head: bytes) -> Callable[[Any], Iterator[pa.RecordBatch]] | None:
    if head.startswith(b"PAR1"):
        return lambda file: pq.ParquetFile(file).iter_batches(_ROWS)
    if head.startswith(b"ARROW1"):
        return _arrow
    if head.startswith(b"ORC"):
        return _orc
    return None


def _notes(head: bytes, file: Any) -> Iterator[bytes]:
    """What a table's file contains in addition to its rows: metadata of the file and of columns, names of nested
    fields."""
    if head.startswith(b"PAR1"):
        said, schema = pq.read_metadata(file).metadata or {}, pq.read_schema(file)
        yield from (
            part
            for name, value in said.items()
            if name != b"ARROW:schema"
            for part in (name, value)
        )
    elif head.startswith(b"ARROW1"):
        with pa.ipc.open_file(file) as reader:
            schema = reader.schema
    else:
        from pyarrow import orc

        found = orc.ORCFile(file)
        schema = found.schema
        yield from (part for pair in (found.metadata or {}).items() for part in pair)
    yield from (part for pair in (schema.metadata or {}).items() for part in pair)
    for column in schema:
        yield from _notes_of(column)


def _notes_of(column: pa.Field) -> Iterator[bytes]:
    yield column.name.encode("utf-8", "replace")
    yield from (part for pair in (column.metadata or {}).items() for part in pair)
    kind = column.type
    for at in range(kind.num_fields if pa.types.is_nested(kind) else 0):
        yield from _notes_of(kind.field(at))


def _arrow(file: Any) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_file(file) as reader:
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _orc(file: Any) -> Iterator[pa.RecordBatch]:
    from pyarrow import orc

    found = orc.ORCFile(file)
    for i in range(found.nstripes):
        yield found.read_stripe(i)
