"""Encrypted artifacts: created, verified and decrypted, by operators and by the command line.

`_encrypt` encrypts, signs and records; `_verify` checks whether an artifact is what was signed; `_decrypt` decrypts it;
`_rewrap` gives it other recipients.
May import `lineage`, `ledger` and what those may import.
"""

from airflow_mlsec.artifacts._decrypt import decrypt_artifact
from airflow_mlsec.artifacts._encrypt import Encrypted, Encryption, encrypt_artifact
from airflow_mlsec.artifacts._rewrap import rewrap_artifact
from airflow_mlsec.artifacts._verify import Demands, Verified, verified, verify_artifact

__all__ = [
    "Demands",
    "Encrypted",
    "Encryption",
    "Verified",
    "decrypt_artifact",
    "encrypt_artifact",
    "rewrap_artifact",
    "verified",
    "verify_artifact",
]
