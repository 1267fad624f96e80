"""The keys that sign checkpoints of the log: the ring's ``log`` (Ed25519) and, in addition, ``log.post-quantum``.

The ring keeps 32 bytes of each. Those of the post-quantum key are the seed of an ML-DSA-44 key, which signs
checkpoints (https://c2sp.org/tlog-cosignature), whatever else the ring derives from such keys.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from airflow_mlsec.crypto import Key, KeyKind, KeyRing
from airflow_mlsec.errors import KeyNotFound
from airflow_mlsec.merkle_log import Verifier
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

LOG_KEY = "log"
_BESIDE = f"{LOG_KEY}.post-quantum"


def log_signers(keys: KeyRing) -> list[Any]:
    """The private keys that sign checkpoints now; the ring's key is created if it does not exist.

    :raises KeyNotFound: if a key is of another kind.
    """
    return [_private(key) for key in keys.signing_keys(LOG_KEY)]


def log_verifiers(register: Register, keys: KeyRing) -> list[Verifier]:
    """The public keys of all usable versions of the keys that sign checkpoints of this register's log."""
    [log] = register.rows(sa.select(t.log.c.origin))
    found = [*keys.live(LOG_KEY), *keys.live(_BESIDE)]
    return [Verifier.of(log.origin, _private(key).public_key()) for key in found]


def _private(key: Key) -> Any:
    if key.kind is KeyKind.SIGNING:
        return ed25519.Ed25519PrivateKey.from_private_bytes(key.secret)
    if key.kind is KeyKind.ML_DSA:
        return mldsa.MLDSA44PrivateKey.from_seed_bytes(key.secret)
    raise KeyNotFound(
        f"key '{key.name}' is of kind {key.kind}: checkpoints are signed with {KeyKind.SIGNING}, and with {KeyKind.ML_DSA} too"
    )
