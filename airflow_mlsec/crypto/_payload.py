"""The payload of an age v1 file: 64 KiB chunks of ChaCha20-Poly1305, STREAM construction.

Source: C2SP ``age.md``; Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption
and its Nonce-Reuse Misuse-Resistance" (CRYPTO 2015). Buffers are reused, so memory is flat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 64 * 1024
_TAG = 16
_BLOCK = 16  # chunks read and written at a time: 1 MiB


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
    plain, sealed = bytearray(CHUNK * _BLOCK), bytearray((CHUNK + _TAG) * _BLOCK)
    views = memoryview(plain), memoryview(sealed)
    counter = done = 0
    filled = _fill(source, views[0])
    while True:
        # The last chunk is marked, so look past a full block before sealing it.
        ahead = source.read(1) if filled == len(plain) else b""
        last = not ahead
        position = written = 0
        while position < filled or (last and filled == 0 and counter == 0 and written == 0):
            end = min(position + CHUNK, filled)
            out = views[1][written : written + end - position + _TAG]
            nonce = _nonce(counter, last and end == filled)
            cipher.encrypt_into(nonce, views[0][position:end], None, out)
            counter, written, position = counter + 1, written + len(out), end
        target.write(views[1][:written])
        done += filled
        progress(done)
        if last:
            return
        plain[:1] = ahead
        filled = 1 + _fill(source, views[0][1:])


def unseal(
    cipher: ChaCha20Poly1305,
    source: BinaryIO,
    target: BinaryIO,
    progress: Callable[[int], None],
) -> None:
    """Decrypt ``source`` to its end; each chunk is written after it verified.

    :raises Damaged: on a changed, missing, repeated, reordered or extra byte.
    """
    size = CHUNK + _TAG
    sealed, plain = bytearray(size * _BLOCK), bytearray(CHUNK * _BLOCK)
    views = memoryview(sealed), memoryview(plain)
    counter = done = 0
    filled = _fill(source, views[0])
    while True:
        ahead = source.read(1) if filled == len(sealed) else b""
        last = not ahead
        position = written = 0
        if filled == 0:
            raise Damaged
        while position < filled:
            end = min(position + size, filled)
            length = end - position - _TAG
            final = last and end == filled
            # Only an empty file has an empty chunk.
            if length < 0 or (length == 0 and counter > 0):
                raise Damaged
            out = views[1][written : written + length]
            try:
                cipher.decrypt_into(_nonce(counter, final), views[0][position:end], None, out)
            except InvalidTag:
                raise Damaged from None
            counter, written, position = counter + 1, written + length, end
        target.write(views[1][:written])
        done += written
        progress(done)
        if last:
            return
        sealed[:1] = ahead
        filled = 1 + _fill(source, views[0][1:])


def _nonce(counter: int, final: bool) -> bytes:
    return counter.to_bytes(11, "big") + (b"\x01" if final else b"\x00")


def _fill(source: BinaryIO, view: memoryview) -> int:
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
