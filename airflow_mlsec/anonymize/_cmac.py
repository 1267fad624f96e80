"""AES-CMAC (RFC 4493, NIST SP 800-38B) of many values at once.

The values of an Arrow array lie end to end in one buffer. Rows of about the same length are
laid out as a matrix of 16-byte blocks, and each block column is encrypted with one AES-ECB
call: the cipher runs at full speed with no Python code per row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Bytes = npt.NDArray[np.uint8]
_BLOCK = 16
# Working memory of one chunk: the matrix of padded values. A cache's worth is fastest.
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
    blocks = np.maximum(1, -(-lengths // _BLOCK))
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - CMAC's building block
    first = double(_encrypt_one(encryptor, bytes(_BLOCK)))
    subkeys = np.frombuffer(first + double(first), np.uint8).reshape(2, _BLOCK)
    order = np.argsort(-blocks, kind="stable")
    position = 0
    while position < n:
        width = int(blocks[order[position]])
        rows = order[position : position + max(1, _CHUNK_BYTES // (width * _BLOCK))]
        tags[rows] = _chunk(data, starts[rows], lengths[rows], blocks[rows], encryptor, subkeys)
        position += len(rows)
    return tags


def _chunk(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    blocks: npt.NDArray[np.int64],
    encryptor: object,
    subkeys: Bytes,
) -> Bytes:
    """Rows sorted by falling number of blocks, so that the active ones are a prefix."""
    n, width = len(starts), int(blocks[0])
    span = np.arange(width * _BLOCK, dtype=np.int64)
    inside = span < lengths[:, None]
    matrix = data[np.minimum(starts[:, None] + span, len(data) - 1)]
    matrix *= inside
    short = lengths < blocks * _BLOCK
    row = np.flatnonzero(short)
    matrix[row, lengths[row]] = 0x80
    cells = matrix.reshape(n, width, _BLOCK)
    last = np.arange(n), blocks - 1
    cells[last] ^= subkeys[short.astype(np.intp)]
    state = np.zeros((n, _BLOCK), np.uint8)
    out = bytearray(n * _BLOCK + _BLOCK)
    for column in range(width):
        active = int(np.searchsorted(-blocks, -column, side="left"))
        mixed = state[:active] ^ cells[:active, column]
        encryptor.update_into(mixed.tobytes(), out)  # type: ignore[attr-defined]
        state[:active] = np.frombuffer(out, np.uint8, active * _BLOCK).reshape(active, _BLOCK)
    return state


def layout(
    values: pa.Array,
) -> tuple[Bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bytes of a large_binary array, and where each value starts in them and how long it is."""
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
