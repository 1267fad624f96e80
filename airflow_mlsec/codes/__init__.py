"""Replacements for values: keyed codes (the same value gets the same code), masks, and constants.

`_codes` has the column transforms, based on `_cmac` (AES-CMAC, RFC 4493) and `_siv` (AES-SIV, RFC 5297), which process whole
columns at once. May import `values` and below.
"""

from airflow_mlsec.codes._cmac import cmac_rows
from airflow_mlsec.codes._codes import (
    REDACTED,
    constant,
    detokenize,
    mask,
    pseudonymize,
    redact,
    tokenize,
)

__all__ = [
    "REDACTED",
    "cmac_rows",
    "constant",
    "detokenize",
    "mask",
    "pseudonymize",
    "redact",
    "tokenize",
]
