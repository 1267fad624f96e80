"""AES-CMAC (RFC 4493, NIST SP 800-38B) of many values at once.

The values of an Arrow array are contiguous in one buffer. Rows of about the same length are
laid out as a matrix of 16-byte blocks, and each block column is encrypted with one AES-ECB
call: the cipher runs at full speed with no Python code per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
_WHOLE_BLOCK = np.dtype("V16")
_BLOCK = 16
# Working memory of one chunk: the matrix of padded values. Fastest if it fits into the cache.
_CHUNK_BYTES = 2 * 2**20


def cmac_rows(values: pa.Array, key: bytes) -> Bytes:
    """AES-CMAC of each value of a large_binary array, as an (n, 16) byte matrix.

    ``key`` is 16, 24 or 32 bytes. Null rows give the CMAC of the empty value; the caller
    masks them.
    """
    n = len(values)
    tags = np.empty((n, _BLOCK), np.uint8)
    if n == 0:
        return tags
    data, starts, lengths = layout(values)
    # Every offset of the data is the start of a block, the last ones included.
    padded = np.concatenate([data, np.zeros(_BLOCK, np.uint8)])
    blocks_at = np.ndarray(len(data) + 1, _WHOLE_BLOCK, padded, strides=(1,))
    blocks = np.maximum(1, -(-lengths // _BLOCK))
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - CMAC's building block
    first = double(_encrypt_one(encryptor, bytes(_BLOCK)))
    ends = _Ends.of(first)
    order = np.argsort(-blocks, kind="stable") if int(blocks.max()) > int(blocks.min()) else None
    position = 0
    while position < n:
        width = int(blocks[position if order is None else order[position]])
        size = max(1, _CHUNK_BYTES // (width * _BLOCK))
        some = slice(position, position + size)
        rows: Any = some if order is None else order[some]
        tags[rows] = _chunk(blocks_at, starts[rows], lengths[rows], blocks[rows], encryptor, ends)
        position += size
    return tags


@dataclass(frozen=True)
class _Ends:
    """The masks for the last block of a value, by its number of bytes (0 to 16): the bytes after them
    are cleared, and the padding and the subkey are mixed in (RFC 4493, section 2.4)."""

    kept: Words
    mixed: Words

    @classmethod
    def of(cls, first: bytes) -> _Ends:
        kept = np.zeros((_BLOCK + 1, _BLOCK), np.uint8)
        mixed = np.zeros((_BLOCK + 1, _BLOCK), np.uint8)
        for there in range(_BLOCK + 1):
            kept[there, :there] = 0xFF
            mixed[there] = np.frombuffer(first if there == _BLOCK else double(first), np.uint8)
            if there < _BLOCK:
                mixed[there, there] ^= 0x80
        return cls(kept.view(np.uint64), mixed.view(np.uint64))


def _chunk(
    blocks_at: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    blocks: npt.NDArray[np.int64],
    encryptor: object,
    ends: _Ends,
) -> Bytes:
    """Rows are sorted by descending number of blocks, so that the active ones are a prefix."""
    n, width = len(starts), int(blocks[0])
    state = np.zeros((n, 2), np.uint64)
    out = bytearray(n * _BLOCK + _BLOCK)
    there = lengths - (blocks - 1) * _BLOCK
    for column in range(width):
        active = n if column == 0 else int(np.searchsorted(-blocks, -column, side="left"))
        # Nothing is read beyond the last block.
        taken = blocks_at[starts[:active] + column * _BLOCK]
        cells = taken.view(np.uint64).reshape(active, 2)
        # Rows for which this is the last block are at the end of the prefix.
        still = int(np.searchsorted(-blocks[:active], -column - 1, side="left"))
        last = there[still:active]
        cells[still:] &= ends.kept[last]
        cells[still:] ^= ends.mixed[last]
        cells ^= state[:active]
        encryptor.update_into(cells.view(np.uint8).ravel(), out)  # type: ignore[attr-defined]
        state[:active] = np.frombuffer(out, np.uint64, active * 2).reshape(active, 2)
    return state.view(np.uint8).reshape(n, _BLOCK)


def layout(
    values: pa.Array,
) -> tuple[Bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bytes of a large_binary array, and the start and length of each value in them."""
    _, offset_buffer, data_buffer = values.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, len(values) + 1, values.offset * 8)
    lengths = np.diff(offsets)
    if values.null_count:  # a null may cover bytes of a shared buffer
        lengths = lengths * np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.int64)
    raw = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.empty(0, np.uint8)
    return (raw if len(raw) else np.zeros(1, np.uint8)), offsets[:-1], lengths


def _encrypt_one(encryptor: object, block: bytes) -> bytes:
    out: bytes = encryptor.update(block)  # type: ignore[attr-defined]
    return out


def double(block: bytes) -> bytes:
    """Multiplication by x in GF(2^128), as RFC 4493 derives its subkeys."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = (number & ((1 << 128) - 1)) ^ 0x87
    return number.to_bytes(_BLOCK, "big")
