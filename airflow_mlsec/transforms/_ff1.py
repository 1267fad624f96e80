"""FF1 format-preserving encryption (NIST SP 800-38G, February 2025 revision 1 included), of many
numeral strings at once.

All rows of one length go through the ten Feistel rounds together; the cipher is called once for
each block of a round, not for each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Numerals = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

# Revision 1 requires radix ** length to be at least this.
SMALLEST_DOMAIN = 10**6
_ROUNDS = 10
_BLOCK = 16
# Numbers below this can be multiplied by 256 in 64 bits.
_FITS = 1 << 55


def ff1(
    numerals: Numerals, tweaks: Bytes, radix: int, key: bytes, decrypt: bool = False
) -> Numerals:
    """Encrypt (or decrypt) each row of ``numerals`` (rows by length, each below ``radix``) under
    its tweak (rows by bytes); ``key`` is an AES key.

    :raises ValueError: if the domain has fewer than a million strings.
    """
    rows, length = numerals.shape
    if radix**length < SMALLEST_DOMAIN:
        raise ValueError("FF1 needs a domain of at least a million strings")
    if rows == 0:
        return numerals.copy()
    u = length // 2
    v = length - u
    number_bytes = ((radix**v - 1).bit_length() + 7) // 8
    encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - FF1's building block
    state = _Round(encrypt, radix, length, tweaks, number_bytes, radix**v < _FITS)
    left, right = (
        _number(part, radix, radix**v < _FITS) for part in (numerals[:, :u], numerals[:, u:])
    )
    modulus = radix**u, radix**v
    if not decrypt:
        for i in range(_ROUNDS):
            m = modulus[i % 2]
            left, right = right, (left + state.function(i, right, m)) % m
    else:
        for i in reversed(range(_ROUNDS)):
            m = modulus[i % 2]
            left, right = (right + (m - state.function(i, left, m))) % m, left
    return np.hstack([_digits(left, radix, u), _digits(right, radix, v)])


class _Round:
    """The round function of some rows."""

    def __init__(
        self, encrypt: Any, radix: int, length: int, tweaks: Bytes, number_bytes: int, fits: bool
    ) -> None:
        rows, t = tweaks.shape
        self._encrypt, self._number_bytes, self._fits = encrypt, number_bytes, fits
        self._taken = 4 * -(-number_bytes // 4) + 4
        head = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, (length // 2) % 256])
        head += length.to_bytes(4, "big") + t.to_bytes(4, "big")
        # The first block is the same for all rows and rounds.
        self._first = np.frombuffer(encrypt(head), np.uint8)
        pad = -(t + number_bytes + 1) % _BLOCK
        self._blocks = np.zeros((rows, t + pad + 1 + number_bytes), np.uint8)
        self._blocks[:, :t] = tweaks

    def function(self, i: int, half: Any, modulus: int) -> Any:
        """The number that round ``i`` adds, reduced by ``modulus``."""
        self._blocks[:, -self._number_bytes - 1] = i
        self._blocks[:, -self._number_bytes :] = _to_bytes(half, self._number_bytes)
        mac = np.broadcast_to(self._first, (len(self._blocks), _BLOCK))
        for start in range(0, self._blocks.shape[1], _BLOCK):
            mac = self._aes(mac ^ self._blocks[:, start : start + _BLOCK])
        parts, counter = [mac], 1
        while len(parts) * _BLOCK < self._taken:
            block = np.frombuffer(counter.to_bytes(_BLOCK, "big"), np.uint8)
            parts.append(self._aes(mac ^ block))
            counter += 1
        return _reduced(np.hstack(parts)[:, : self._taken], modulus, self._fits)

    def _aes(self, blocks: Bytes) -> Bytes:
        out = self._encrypt(np.ascontiguousarray(blocks).tobytes())
        return np.frombuffer(out, np.uint8).reshape(-1, _BLOCK)


def _number(numerals: Numerals, radix: int, fits: bool) -> Any:
    found: Any = np.zeros(len(numerals), np.uint64 if fits else object)
    base = np.uint64(radix) if fits else radix
    for column in numerals.T:
        found = found * base + column.astype(found.dtype)
    return found


def _digits(numbers: Any, radix: int, length: int) -> Numerals:
    found = np.empty((len(numbers), length), np.int64)
    base = np.uint64(radix) if numbers.dtype != object else radix
    for place in range(length - 1, -1, -1):
        found[:, place] = (numbers % base).astype(np.int64)
        numbers = numbers // base
    return found


def _to_bytes(numbers: Any, length: int) -> Bytes:
    if numbers.dtype != object:
        whole = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
        if length <= 8:
            return np.asarray(whole[:, 8 - length :])
        return np.hstack([np.zeros((len(numbers), length - 8), np.uint8), whole])
    found = np.empty((len(numbers), length), np.uint8)
    for place in range(length - 1, -1, -1):
        found[:, place] = (numbers & 0xFF).astype(np.uint8)
        numbers = numbers >> 8
    return found


def _reduced(taken: Bytes, modulus: int, fits: bool) -> Any:
    """Big-endian numbers modulo ``modulus``."""
    if not fits:
        found: Any = np.zeros(len(taken), object)
        for start in range(0, taken.shape[1], 4):
            word = np.ascontiguousarray(taken[:, start : start + 4]).view(">u4").ravel()
            found = (found << 32) + word.astype(object)
        return found % modulus
    # As many bytes at a time as leave room for the carry.
    width = 4 if modulus <= 1 << 32 else 2 if modulus <= 1 << 48 else 1
    words = np.ascontiguousarray(taken).view(f">u{width}").astype(np.uint64)
    m, shift = np.uint64(modulus), np.uint64(8 * width)
    found = np.zeros(len(taken), np.uint64)
    for place in range(words.shape[1]):
        found = ((found << shift) + words[:, place]) % m
    return found
