"""The payload of an age v1 file: 64 KiB chunks of ChaCha20-Poly1305, STREAM construction.

Source: C2SP ``age.md``; Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption
and its Nonce-Reuse Misuse-Resistance" (CRYPTO 2015). Blocks of chunks are read ahead of the one being processed,
and are processed by every core: the cipher holds no lock. Buffers are reused, so memory use is constant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 64 * 1024
TAG = 16
SEALED = CHUNK + TAG
# Chunks read, processed and written at a time: 4 MiB; there are four such buffers.
_BLOCK = 64
_MOST_THREADS = 4


class Damaged(ValueError):
    """The payload does not verify. Never leaves the package: callers see `DecryptionFailed`."""


def payload_key(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    """The cipher of one file's payload."""
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt=nonce, info=b"payload").derive(file_key))


def seal(
    cipher: ChaCha20Poly1305,
    source: BinaryIO,
    target: BinaryIO,
    progress: Callable[[int], None],
) -> None:
    """Encrypt ``source`` to its end. ``progress`` gets the plaintext bytes done so far."""

    def work(first: int, plain: memoryview, out: memoryview, last: int | None) -> int:
        position = written = 0
        while position < len(plain) or (last == first and written == 0):
            end = min(position + CHUNK, len(plain))
            number = first + position // CHUNK
            sealed = out[written : written + end - position + TAG]
            cipher.encrypt_into(nonce_of(number, number == last), plain[position:end], None, sealed)
            written, position = written + len(sealed), max(end, position + 1)
        return written

    _run(source, target, CHUNK, SEALED, work, lambda read, written: read, progress)


def unseal(
    cipher: ChaCha20Poly1305,
    source: BinaryIO,
    target: BinaryIO,
    progress: Callable[[int], None],
) -> None:
    """Decrypt ``source`` to its end; each chunk is written after it verified.

    :raises Damaged: on a changed, missing, repeated, reordered or extra byte. What verified before it
        has been written.
    """

    def work(first: int, sealed: memoryview, out: memoryview, last: int | None) -> int:
        position = written = 0
        if not len(sealed):
            raise _Stopped(0)
        while position < len(sealed):
            end = min(position + SEALED, len(sealed))
            number = first + position // SEALED
            length = end - position - TAG
            # Only an empty file has an empty chunk.
            if length < 0 or (length == 0 and number > 0):
                raise _Stopped(written)
            plain = out[written : written + length]
            try:
                cipher.decrypt_into(
                    nonce_of(number, number == last), sealed[position:end], None, plain
                )
            except InvalidTag:
                raise _Stopped(written) from None
            written, position = written + length, end
        return written

    _run(source, target, SEALED, CHUNK, work, lambda read, written: written, progress)


class _Stopped(Exception):
    """A chunk did not verify; ``written`` bytes before it did."""

    def __init__(self, written: int) -> None:
        super().__init__()
        self.written = written


_Work = Callable[[int, memoryview, memoryview, int | None], int]


def _run(
    source: BinaryIO,
    target: BinaryIO,
    size_in: int,
    size_out: int,
    work: _Work,
    counted: Callable[[int, int], int],
    progress: Callable[[int], None],
) -> None:
    """Read blocks of chunks, work on them, write what they become, in order: one block is read and one is
    written while one is worked on."""
    begin = bytearray(size_in)
    filled = fill(source, memoryview(begin))
    if filled < size_in:
        # Most files are small, and creating buffers takes longer than processing such files.
        _finish(target, work, memoryview(begin)[:filled], size_out, counted, progress)
        return
    block = bytearray(size_in * _BLOCK)
    block[:size_in] = begin
    filled += fill(source, memoryview(block)[size_in:])
    first = done = 0
    with _pool(filled == len(block)) as pool:
        ahead = bytearray(len(block)) if pool else bytearray()
        out = bytearray(size_out * (_BLOCK if pool else max(1, -(-filled // size_in))))
        other_out = bytearray(len(out)) if pool else bytearray()
        writing: Future[int] | None = None
        while True:
            whole = filled == len(block)
            chunks = max(1, -(-filled // size_in))
            if not whole:
                last = first + chunks - 1
                following = 0
                jobs = [(first, memoryview(block)[:filled], memoryview(out), last)]
                results = [_attempt(work, *jobs[0])]
            else:
                # It is not known whether this block is the last until more has been requested:
                # meanwhile all of its chunks but the last are processed.
                assert pool is not None
                parts = _parts(first, block, out, size_in, size_out)
                futures: list[Future[int | _Stopped]] = [
                    pool.submit(_attempt, work, *part, None) for part in parts
                ]
                following = fill(source, memoryview(ahead))
                results = [future.result() for future in futures]
                end = first + _BLOCK - 1
                tail = memoryview(block)[-size_in:], memoryview(out)[(_BLOCK - 1) * size_out :]
                results.append(_attempt(work, end, *tail, None if following else end))
            if writing is not None:
                writing.result()
                progress(done)
            written = 0
            for result in results:
                if isinstance(result, _Stopped):
                    target.write(memoryview(out)[: written + result.written])
                    raise Damaged
                written += result
            done += counted(filled, written)
            if not following or pool is None:
                target.write(memoryview(out)[:written])
                progress(done)
                return
            writing = pool.submit(target.write, memoryview(out)[:written])
            out, other_out = other_out, out
            first, filled = first + chunks, following
            block, ahead = ahead, block


def _finish(
    target: BinaryIO,
    work: _Work,
    taken: memoryview,
    size_out: int,
    counted: Callable[[int, int], int],
    progress: Callable[[int], None],
) -> None:
    """Work on a file of less than a chunk."""
    out = bytearray(size_out)
    result = _attempt(work, 0, taken, memoryview(out), 0)
    if isinstance(result, _Stopped):
        target.write(memoryview(out)[: result.written])
        raise Damaged
    target.write(memoryview(out)[:result])
    progress(counted(len(taken), result))


def _attempt(
    work: _Work, first: int, taken: memoryview, out: memoryview, last: int | None
) -> int | _Stopped:
    try:
        return work(first, taken, out, last)
    except _Stopped as stopped:
        return stopped


def _parts(
    first: int, block: bytearray, out: bytearray, size_in: int, size_out: int
) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The chunks of a block except its last, divided among the threads."""
    step = -(-(_BLOCK - 1) // _threads())
    for start in range(0, _BLOCK - 1, step):
        end = min(start + step, _BLOCK - 1)
        yield (
            first + start,
            memoryview(block)[start * size_in : end * size_in],
            memoryview(out)[start * size_out : end * size_out],
        )


@contextmanager
def _pool(large: bool) -> Iterator[ThreadPoolExecutor | None]:
    """Threads, if the file is large enough for them."""
    if not large:
        yield None
        return
    # One more thread writes.
    with ThreadPoolExecutor(_threads() + 1) as pool:
        yield pool


def _threads() -> int:
    return max(1, min(_MOST_THREADS, os.cpu_count() or 1))


def nonce_of(counter: int, final: bool) -> bytes:
    """The nonce of a chunk."""
    return counter.to_bytes(11, "big") + (b"\x01" if final else b"\x00")


def fill(source: BinaryIO, view: memoryview) -> int:
    """Read until the view is full or the source ends; a raw source may give less at a time."""
    filled = 0
    readinto = getattr(source, "readinto", None)
    while filled < len(view):
        if readinto is not None:
            count = readinto(view[filled:])
        else:
            data = source.read(len(view) - filled)
            count = len(data)
            view[filled : filled + count] = data
        if not count:
            break
        filled += count
    return filled
