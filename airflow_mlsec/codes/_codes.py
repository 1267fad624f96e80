"""The column transforms: an Arrow array in, an Arrow array of the same length out.

Nulls stay null everywhere except in `constant`. No transform runs Python code per row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.codes._cmac import cmac_rows, layout
from airflow_mlsec.codes._siv import siv_decrypt, siv_encrypt, spans
from airflow_mlsec.errors import DecryptionFailed
from airflow_mlsec.values import canonical_bytes, canonical_text

REDACTED = "[redacted]"
# The number of pseudonyms that fits into 32-bit offsets.
_MOST_SHORT = (1 << 31) // 32 - 1
_HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), np.uint8).reshape(256, 2)


def redact(array: pa.Array) -> pa.Array:
    """Every value becomes ``[redacted]``."""
    return _where_valid(array, pa.array([REDACTED]).take(pa.array(np.zeros(len(array), np.int32))))


def constant(array: pa.Array, value: object) -> pa.Array:
    """Every row, null or not, becomes ``value``."""
    return pa.repeat(pa.scalar(value), len(array))


def mask(array: pa.Array, column: str, keep_first: int, keep_last: int, character: str) -> pa.Array:
    """Each character (code point) except the kept ones becomes ``character``.

    A value that is not longer than the part to keep is masked completely.
    """
    text = canonical_text(array, column).cast(pa.string())
    length = pc.utf8_length(text)
    short = pc.less_equal(length, keep_first + keep_last)
    hidden = pc.if_else(short, length, pc.subtract(length, keep_first + keep_last))
    middle = pc.binary_repeat(pa.scalar(character), hidden)
    if keep_first == 0 and keep_last == 0:
        return middle
    parts = [middle]
    if keep_first:
        parts.insert(0, pc.utf8_slice_codeunits(text, 0, keep_first))
    if keep_last:
        parts.append(pc.utf8_slice_codeunits(text, -keep_last))
    return pc.if_else(short, middle, pc.binary_join_element_wise(*parts, ""))


def pseudonymize(array: pa.Array, column: str, key: bytes) -> pa.Array:
    """The AES-CMAC of each value's canonical text, as 32 hexadecimal digits.

    Deterministic under one key and one-way without it (GDPR Art. 4(5)): the key is the
    additional information that is kept separately.
    """
    values = canonical_bytes(array, column)
    n = len(values)
    digits = pa.py_buffer(cmac_rows(values, key).tobytes().hex().encode())
    if n < _MOST_SHORT:
        offsets = pa.py_buffer(np.arange(0, 32 * (n + 1), 32, dtype=np.int32))
        return _where_valid(values, pa.StringArray.from_buffers(n, offsets, digits))
    offsets = pa.py_buffer(np.arange(0, 32 * (n + 1), 32, dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(n, offsets, digits)
    return _where_valid(values, text.cast(pa.string()))


def tokenize(array: pa.Array, column: str, key: bytes) -> pa.Array:
    """The AES-SIV (RFC 5297) of each value's canonical text, in hexadecimal: the same value has the
    same token under one key, and anyone who has the key can reverse it (`detokenize`)."""
    return _hexadecimal(siv_encrypt(canonical_bytes(array, column), key))


def detokenize(tokens: pa.Array, key: bytes) -> pa.Array:
    """The texts behind the tokens of `tokenize`. Nulls stay null.

    :raises DecryptionFailed: if one is not a token of this key.
    """
    try:
        texts = [None if t is None else bytes.fromhex(t) for t in tokens.to_pylist()]
        return siv_decrypt(pa.array(texts, pa.large_binary()), key).cast(pa.string())
    except (ValueError, pa.ArrowInvalid):
        raise DecryptionFailed from None


def _hexadecimal(values: pa.Array) -> pa.Array:
    data, starts, lengths = layout(values)
    digits = _HEX[data[spans(starts, lengths)]]
    offsets = pa.py_buffer(np.concatenate([[0], np.cumsum(2 * lengths)]).astype(np.int64))
    text = pa.LargeStringArray.from_buffers(
        len(values), offsets, pa.py_buffer(np.ascontiguousarray(digits).tobytes())
    )
    return _where_valid(values, text.cast(pa.string()))


def _where_valid(array: pa.Array, result: pa.Array) -> pa.Array:
    if array.null_count == 0:
        return result
    return pc.if_else(array.is_valid(), result, pa.scalar(None, result.type))
