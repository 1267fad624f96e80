"""Key services that keep a key and use it for us. One file is one service; the key never leaves it.

`_service` is what every service must do, and what we wrap with it; `_registry` finds them. May import `errors`.
"""

from airflow_mlsec.crypto.key_services._registry import key_services, open_key_service
from airflow_mlsec.crypto.key_services._service import (
    KeyService,
    check_contract,
    is_private,
    refused,
    unwrap,
    wrap,
)

__all__ = [
    "KeyService",
    "check_contract",
    "is_private",
    "key_services",
    "open_key_service",
    "refused",
    "unwrap",
    "wrap",
]
