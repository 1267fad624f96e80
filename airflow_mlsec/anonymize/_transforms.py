"""The column transforms: an Arrow array in, an Arrow array of the same length out.

Nulls stay null everywhere but in `constant`. No transform runs Python code per row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._cmac import cmac_rows
from airflow_mlsec.anonymize._values import canonical_bytes, canonical_text

PSEUDONYM_PATTERN = "^[0-9a-f]{32}$"
REDACTED = "[redacted]"
_HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), np.uint8).reshape(256, 2)


def redact(array: pa.Array) -> pa.Array:
    """Every value becomes ``[redacted]``."""
    return _where_valid(array, pa.array([REDACTED]).take(pa.array(np.zeros(len(array), np.int32))))


def constant(array: pa.Array, value: object) -> pa.Array:
    """Every row, null or not, becomes ``value``."""
    return pa.repeat(pa.scalar(value), len(array))


def mask(array: pa.Array, column: str, keep_first: int, keep_last: int, character: str) -> pa.Array:
    """Each character (code point) but the kept ones becomes ``character``.

    A value no longer than what would be kept is masked whole.
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
    digits = _HEX[cmac_rows(values, key)]
    n = len(values)
    offsets = pa.py_buffer(np.arange(0, 32 * (n + 1), 32, dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(n, offsets, pa.py_buffer(digits.tobytes()))
    return _where_valid(values, text.cast(pa.string()))


def _where_valid(array: pa.Array, result: pa.Array) -> pa.Array:
    if array.null_count == 0:
        return result
    return pc.if_else(array.is_valid(), result, pa.scalar(None, result.type))
