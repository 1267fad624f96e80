"""What stands for values: the same code for the same value under a key, masks, and constants.

`_codes` has them column by column, over `_cmac` (AES-CMAC, RFC 4493) and `_siv` (AES-SIV, RFC 5297) of whole columns at once. May
import `values` and below.
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
