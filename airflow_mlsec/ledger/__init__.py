"""The ledger: what was found, decided and done, in a log that shows whether anything of it was changed.

`_log` verifies, signs, exports and proves the audit log, which the register writes. May import `register`,
`merkle_log`, `crypto`, `policy`, `files` and `errors`.
"""

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

__all__ = [
    "Audit",
    "LogEntry",
    "checkpoint",
    "export_log",
    "newest_checkpoint",
    "prove",
    "verify_export",
    "verify_proof",
    "verify_register",
]
