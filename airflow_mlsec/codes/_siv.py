"""AES-SIV (RFC 5297) of many values at once: reversible tokens, the same for the same value.

A token is the synthetic initialization vector followed by the ciphertext. The vector is S2V of
the value alone; the counter mode that encrypts the value is one AES-ECB call for all rows.
"""

from __future__ import annotations

import hmac

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from airflow_mlsec.codes._cmac import Bytes, cmac_rows, double, layout

_BLOCK = 16
Places = npt.NDArray[np.int64]


def siv_encrypt(values: pa.Array, key: bytes) -> pa.Array:
    """The vector and ciphertext of each value of a large_binary array, as large_binary.

    ``key`` is 32, 48 or 64 bytes: its first half authenticates, its second half encrypts (RFC 5297,
    section 2.2). Nulls stay null.
    """
    data, starts, lengths = layout(values)
    vectors = cmac_rows(_mixed(data, starts, lengths, key), key[: len(key) // 2])
    hidden = _with_counters(data[spans(starts, lengths)], lengths, vectors, key)
    offsets = _offsets(lengths + _BLOCK)
    out = np.empty(int(offsets[-1]), np.uint8)
    out[offsets[:-1, None] + np.arange(_BLOCK)] = vectors
    out[spans(offsets[:-1] + _BLOCK, lengths)] = hidden
    return _binary(offsets, out, values)


def siv_decrypt(tokens: pa.Array, key: bytes) -> pa.Array:
    """The values behind the tokens of `siv_encrypt`. Nulls stay null.

    :raises ValueError: if a token was not made with this key, or was changed.
    """
    data, starts, lengths = layout(tokens)
    valid = np.asarray(tokens.is_valid().to_numpy(zero_copy_only=False), bool)
    if (lengths[valid] < _BLOCK).any():
        raise ValueError("a token is too short")
    lengths = np.maximum(lengths - _BLOCK, 0)
    vectors = np.zeros((len(tokens), _BLOCK), np.uint8)
    vectors[valid] = data[starts[valid, None] + np.arange(_BLOCK)]
    plain = _with_counters(data[spans(starts + _BLOCK, lengths)], lengths, vectors, key)
    offsets = _offsets(lengths)
    made = cmac_rows(_mixed(plain, offsets[:-1], lengths, key), key[: len(key) // 2])
    if not hmac.compare_digest(made[valid].tobytes(), vectors[valid].tobytes()):
        raise ValueError("a token was not made with this key")
    return _binary(offsets, plain, tokens)


def _mixed(data: Bytes, starts: Places, lengths: Places, key: bytes) -> pa.Array:
    """The input of S2V's last CMAC: the value with its last block mixed with CMAC(0), or, if it is
    shorter than a block, padded and mixed with the double of CMAC(0) (RFC 5297, section 2.4)."""
    zero = pa.array([bytes(_BLOCK)], pa.large_binary())
    first = cmac_rows(zero, key[: len(key) // 2])[0]
    offsets = _offsets(np.maximum(lengths, _BLOCK))
    out = np.zeros(int(offsets[-1]), np.uint8)
    out[spans(offsets[:-1], lengths)] = data[spans(starts, lengths)]
    short = lengths < _BLOCK
    out[(offsets[:-1] + lengths)[short]] = 0x80
    twice = np.frombuffer(double(first.tobytes()), np.uint8)
    last = (offsets[1:] - _BLOCK)[:, None] + np.arange(_BLOCK)
    out[last] ^= np.where(short[:, None], twice, first)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lengths), buffers)


def _with_counters(text: Bytes, lengths: Places, vectors: Bytes, key: bytes) -> Bytes:
    """The text (concatenated values) XORed with the key stream of each row's vector."""
    blocks = -(-lengths // _BLOCK)
    counters = vectors.copy()
    # Two bits are cleared so that the counter never carries.
    counters[:, [8, 12]] &= 0x7F
    each = np.repeat(counters, blocks, axis=0)
    within = np.arange(len(each)) - np.repeat(_offsets(blocks)[:-1], blocks)
    low = np.ascontiguousarray(each[:, 12:]).view(">u4").ravel() + within
    each[:, 12:] = low.astype(">u4").view(np.uint8).reshape(-1, 4)
    encrypt = Cipher(algorithms.AES(key[len(key) // 2 :]), modes.ECB()).encryptor()  # noqa: S305 - a counter mode
    stream = np.frombuffer(encrypt.update(each.tobytes()), np.uint8)
    return text ^ stream[spans(_offsets(blocks)[:-1] * _BLOCK, lengths)]


def _offsets(lengths: Places) -> Places:
    found: Places = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def spans(starts: Places, lengths: Places) -> Places:
    """The positions of all bytes of all rows."""
    offsets = _offsets(lengths)
    found: Places = np.repeat(starts - offsets[:-1], lengths) + np.arange(int(offsets[-1]))
    return found


def _binary(offsets: Places, data: Bytes, like: pa.Array) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    made = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(like), buffers)
    if like.null_count == 0:
        return made
    return pc.if_else(like.is_valid(), made, pa.scalar(None, pa.large_binary()))
