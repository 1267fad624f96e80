"""The key ring of this installation, bound to the register that knows it.

`_installation` opens the ring that the settings name, `_register_store` keeps one in the register, `_object_store` in an
object in a bucket. May import `crypto`, `datasets`, `register` and `settings`.
"""

from airflow_mlsec.key_ring._installation import (
    bind_ring,
    existing_key_ring,
    import_ring,
    make_key_ring,
    open_key_ring,
    open_register,
    ring_store,
    root_given,
    trusted_keys,
)
from airflow_mlsec.key_ring._object_store import ObjectStore
from airflow_mlsec.key_ring._register_store import RegisterStore

__all__ = [
    "ObjectStore",
    "RegisterStore",
    "bind_ring",
    "existing_key_ring",
    "import_ring",
    "make_key_ring",
    "open_key_ring",
    "open_register",
    "ring_store",
    "root_given",
    "trusted_keys",
]
