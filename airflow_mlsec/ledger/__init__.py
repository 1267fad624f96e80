"""The ledger: what was found, decided and done, in a log that shows whether anything of it was changed.

`_reason` is why something is so, as a code with typed parameters and its words; `_entries` the two kinds of entry,
findings and acts, and the only way to write them.
`_log` verifies, signs, exports and proves the audit log, which the register writes, `_keys` says who signs it, and
`_witness` keeps checkpoints elsewhere. May import `register`, `datasets`,
`merkle_log`, `crypto`, `policy`, `files` and `errors`.
"""

from airflow_mlsec.ledger._entries import (
    Act,
    Asset,
    AssetKind,
    Finding,
    Outcome,
    acts,
    findings,
    latest_finding,
    record,
)
from airflow_mlsec.ledger._keys import LOG_KEY, log_signers, log_verifiers
from airflow_mlsec.ledger._log import (
    Audit,
    checkpoint,
    export_log,
    newest_checkpoint,
    prove,
    verify_export,
    verify_proof,
    verify_register,
)
from airflow_mlsec.ledger._reason import (
    LANGUAGES,
    Imported,
    Language,
    NotKnownHere,
    Reason,
    Words,
    as_documents,
    has,
    in_words,
    read_reason,
    read_reasons,
    reasons,
)
from airflow_mlsec.ledger._witness import keep_elsewhere
from airflow_mlsec.register import LogEntry

__all__ = [
    "LANGUAGES",
    "LOG_KEY",
    "Act",
    "Asset",
    "AssetKind",
    "Audit",
    "Finding",
    "Imported",
    "Language",
    "LogEntry",
    "NotKnownHere",
    "Outcome",
    "Reason",
    "Words",
    "acts",
    "as_documents",
    "checkpoint",
    "export_log",
    "findings",
    "has",
    "in_words",
    "keep_elsewhere",
    "latest_finding",
    "log_signers",
    "log_verifiers",
    "newest_checkpoint",
    "prove",
    "read_reason",
    "read_reasons",
    "reasons",
    "record",
    "verify_export",
    "verify_proof",
    "verify_register",
]
