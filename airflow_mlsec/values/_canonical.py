"""The canonical text of a value: what pseudonyms, hierarchies and classes are computed from.

A value has the same canonical text whatever column type it arrives in, so that ``42`` in a
CSV file, an integer column and a float column (pandas turns integers with gaps into floats)
have one pseudonym:

| type | canonical text |
|---|---|
| text | itself, unchanged (no trimming, no case folding, no Unicode normalization) |
| integer, float, decimal | decimal digits, no exponent, no needless zeros: ``42``, ``-0.5``; of a float the fewest that read back as the same number |
| boolean | ``true``, ``false`` |
| date | ``1987-05-03`` |
| timestamp | ``1987-05-03 04:05:06.5``, and ``Z`` after it when it has a time zone (in UTC) |
| time | ``04:05:06.5`` |
| binary | its bytes, unchanged |
| null | null |
"""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import ColumnType

_SUPPORTED = "text, a number, a boolean, a date, a time, a timestamp or binary"


def canonical_bytes(array: pa.Array, column: str) -> pa.Array:
    """The canonical text of every value, as a large_binary array; nulls stay null.

    :raises ColumnType: if the column's type has no canonical text.
    """
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return array.cast(pa.large_binary())
    if pa.types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary()).cast(pa.large_binary())
    return canonical_text(array, column).cast(pa.large_binary())


def without_nan(array: pa.Array) -> pa.Array:
    """An array in which NaN is null."""
    if not pa.types.is_floating(array.type):
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def canonical_text(array: pa.Array, column: str) -> pa.Array:
    """The canonical text of every value, as a large_string array; nulls stay null.

    :raises ColumnType: if the column's type has no canonical text (binary included).
    """
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.large_string())
    if pa.types.is_floating(kind):
        return _of_float(array)
    if pa.types.is_decimal(kind):
        return _without_trailing_zeros(_plain_notation(array.cast(pa.large_string())))
    if pa.types.is_date(kind):
        return array.cast(pa.date32()).cast(pa.large_string())
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            array = array.cast(pa.timestamp(kind.unit, "UTC"))
        return _without_trailing_zeros(array.cast(pa.large_string()))
    if pa.types.is_time(kind):
        return _without_trailing_zeros(array.cast(pa.large_string()))
    raise ColumnType.unusable(column, kind, _SUPPORTED, "this transform")


def _of_float(array: pa.Array) -> pa.Array:
    as_double = array.cast(pa.float64())
    small = pc.less(pc.abs(as_double), pa.scalar(2.0**53))
    integral = pc.fill_null(pc.and_(small, pc.equal(as_double, pc.trunc(as_double))), False)
    digits = pc.if_else(integral, as_double, 0.0).cast(pa.int64()).cast(pa.large_string())
    # A float16 has no text of its own in Arrow; single precision holds it exactly.
    shown = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
    others = _without_trailing_zeros(_plain_notation(shown.cast(pa.large_string())))
    return pc.if_else(integral, digits, others)


def _plain_notation(text: pa.Array) -> pa.Array:
    """Digits instead of an exponent, in the few rows that have one."""
    exponential = pc.fill_null(pc.match_substring_regex(text, r"^-?[0-9.]+[eE]"), False)
    if not pc.any(exponential).as_py():
        return text
    rows = pc.indices_nonzero(exponential)
    spelled = [format(Decimal(value), "f") for value in text.take(rows).to_pylist()]
    return pc.replace_with_mask(text, exponential, pa.array(spelled, pa.large_string()))


def _without_trailing_zeros(text: pa.Array) -> pa.Array:
    trimmed = pc.replace_substring_regex(text, r"(\.[0-9]*?)0+(Z?)$", r"\1\2")
    return pc.replace_substring_regex(trimmed, r"\.(Z?)$", r"\1")


def calendar_dates(array: pa.Array) -> pa.Array:
    """The dates of dates and timestamps; for a timestamp with a time zone, the local date in that zone."""
    if pa.types.is_timestamp(array.type):
        array = pc.local_timestamp(array) if array.type.tz is not None else array
        array = pc.floor_temporal(array, unit="day")
    return array.cast(pa.date32(), safe=False)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
