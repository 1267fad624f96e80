"""The values of a column of any type: their canonical text, and the normal form in which spellings of a key are equal.

`_canonical` gives each value one text, `_normal_forms` folds spellings of persons' keys, `_between` finds short numbers
between two values, `_check_digits` validates numbers with check digits. May import `policy` and below.
"""

from airflow_mlsec.values._between import simplest_between
from airflow_mlsec.values._canonical import (
    calendar_dates,
    canonical_bytes,
    canonical_text,
    is_number,
    without_nan,
)
from airflow_mlsec.values._check_digits import is_valid_number
from airflow_mlsec.values._normal_forms import NormalForm, letters_folded, without_invisible

__all__ = [
    "NormalForm",
    "calendar_dates",
    "canonical_bytes",
    "canonical_text",
    "is_number",
    "is_valid_number",
    "letters_folded",
    "simplest_between",
    "without_invisible",
    "without_nan",
]
