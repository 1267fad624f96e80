"""A tamper-evident log: the Merkle tree over its entries (`_tree`, RFC 9162), its signed checkpoints (`_note`), and
its layout in files (`_tiles`), both as C2SP specifies them.

Knows nothing about what is logged or where it is stored. May import `errors` only. Start with `_tree.append`.
"""

from airflow_mlsec.merkle_log._note import (
    Checkpoint,
    Verifier,
    open_checkpoint,
    sign_checkpoint,
)
from airflow_mlsec.merkle_log._tiles import (
    CHECKPOINT,
    bundle,
    entries_in,
    entries_path,
    hashes_in,
    tile_path,
    tiles_of,
)
from airflow_mlsec.merkle_log._tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    WIDTH,
    Growing,
    Tiles,
    append,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

__all__ = [
    "CHECKPOINT",
    "EMPTY_ROOT",
    "HASH_BYTES",
    "WIDTH",
    "Checkpoint",
    "Growing",
    "Tiles",
    "Verifier",
    "append",
    "bundle",
    "consistency_proof",
    "entries_in",
    "entries_path",
    "hashes_in",
    "inclusion_proof",
    "leaf_hash",
    "open_checkpoint",
    "root",
    "sign_checkpoint",
    "tile_path",
    "tiles_of",
    "tree_root",
    "verify_consistency",
    "verify_inclusion",
]
