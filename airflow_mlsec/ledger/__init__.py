"""The ledger: what was found, decided and done, in a log that shows whether anything of it was changed.

`_log` verifies, signs, exports and proves the audit log, which the register writes, `_keys` says who signs it, and
`_witness` keeps checkpoints elsewhere. May import `register`, `datasets`,
`merkle_log`, `crypto`, `policy`, `files` and `errors`.
"""

from airflow_mlsec.ledger._keys import LOG_KEY, log_signers, log_verifiers
from airflow_mlsec.ledger._log import (
    Audit,
    LogEntry,
    checkpoint,
    export_log,
    newest_checkpoint,
    prove,
    verify_export,
    verify_proof,
    verify_register,
)
from airflow_mlsec.ledger._witness import keep_elsewhere

__all__ = [
    "LOG_KEY",
    "Audit",
    "LogEntry",
    "checkpoint",
    "export_log",
    "keep_elsewhere",
    "log_signers",
    "log_verifiers",
    "newest_checkpoint",
    "prove",
    "verify_export",
    "verify_proof",
    "verify_register",
]
