"""The tree against the definition of RFC 9162, the roots of Certificate Transparency's own tests, and Sigstore's code."""

from __future__ import annotations

import hashlib
import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.merkle_log import _tree as merkle

# The leaves, and the roots of the first n of them, that all implementations of RFC 6962 test themselves by.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Kept:
    """Tiles in memory, appended to in batches."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.size = 0

    def __call__(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]

    def append(self, leaves: list[bytes]) -> None:
        self.tiles.update(merkle.append(self, self.size, leaves))
        self.size += len(leaves)


def leaf(number: int) -> bytes:
    return merkle.leaf_hash(number.to_bytes(4, "big"))


def grown(size: int, by: int = 97) -> Kept:
    kept = Kept()
    for start in range(0, size, by):
        kept.append([leaf(i) for i in range(start, min(size, start + by))])
    return kept


def defined(leaves: list[bytes]) -> bytes:
    """The root as RFC 9162, section 2.1.1, defines it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


def flipped(hashes: bytes) -> bytes:
    return bytes([hashes[0] ^ 1]) + hashes[1:]


def test_roots_are_those_of_certificate_transparency() -> None:
    kept = Kept()
    for number, (entry, root) in enumerate(zip(LEAVES, ROOTS, strict=True), 1):
        kept.append([merkle.leaf_hash(entry)])
        assert merkle.root(kept, number).hex() == root
        assert merkle.tree_root(map(merkle.leaf_hash, LEAVES[:number])).hex() == root
    assert merkle.root(kept, 0) == merkle.tree_root([]) == hashlib.sha256().digest()


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 66_000])  # fmt: skip
def test_any_earlier_root_is_read_from_the_tiles(size: int) -> None:
    kept, leaves = grown(size, 4_099), [leaf(i) for i in range(size)]
    sizes = {1, 2, 3, size // 3, size // 2, size - 1, size, 256, 65_536}
    for earlier in (n for n in sizes if 0 < n <= size):
        assert merkle.root(kept, earlier) == defined(leaves[:earlier])


def test_how_it_was_appended_makes_no_difference() -> None:
    assert grown(1_111, 1).tiles == grown(1_111, 256).tiles == grown(1_111, 1_111).tiles


def test_every_proof_of_small_trees() -> None:
    kept = grown(70)
    for size in range(1, 71):
        root = merkle.root(kept, size)
        for index in range(size):
            path = merkle.inclusion_proof(kept, index, size)
            merkle.verify_inclusion(leaf(index), index, size, path, root)
        for old in range(1, size + 1):
            steps = merkle.consistency_proof(kept, old, size)
            merkle.verify_consistency(old, size, steps, merkle.root(kept, old), root)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_else_is_proven(data: st.DataObject) -> None:
    """No other leaf, place, size or root, and no proof that was changed, cut or made longer."""
    kept = grown(600)
    size = data.draw(st.integers(2, 600))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    root, was = merkle.root(kept, size), merkle.root(kept, old)
    path = merkle.inclusion_proof(kept, index, size)
    steps = merkle.consistency_proof(kept, old, size)
    at = data.draw(st.integers(0, len(path) - 1))
    other = (index + data.draw(st.integers(1, size - 1))) % size
    wrong_inclusions = [
        (leaf(other), index, size, path, root),
        (leaf(index), other, size, path, root),
        (leaf(index), size, size, path, root),
        (leaf(index), index, size, path[:-1], root),
        (leaf(index), index, size, [*path, path[0]], root),
        (leaf(index), index, size, [*path[:at], flipped(path[at]), *path[at + 1 :]], root),
        (leaf(index), index, size, path, flipped(root)),
    ]
    for wrong in wrong_inclusions:
        with pytest.raises(BrokenLog):
            merkle.verify_inclusion(*wrong)
    at = data.draw(st.integers(0, len(steps) - 1))
    wrong_steps = [
        (old, size, steps, flipped(was), root),
        (old, size, steps, was, flipped(root)),
        (old, size, steps[:-1], was, root),
        (old, size, [*steps, steps[0]], was, root),
        (old, size, [*steps[:at], flipped(steps[at]), *steps[at + 1 :]], was, root),
        (size, old, steps, root, was),
        (size, size, [], root, flipped(root)),
    ]
    for wrong_step in wrong_steps:
        with pytest.raises(BrokenLog):
            merkle.verify_consistency(*wrong_step)


def test_a_tile_that_lacks_hashes_is_no_tree() -> None:
    kept = grown(300)
    kept.tiles[0, 1] = kept.tiles[0, 1][:-32]
    with pytest.raises(BrokenLog, match="tile 0/1 lacks hashes"):
        merkle.root(kept, 300)


@pytest.mark.parametrize(("index", "size"), [*itertools.product([0, 1, 255, 256, 300], [301, 512, 600])])  # fmt: skip
def test_sigstore_accepts_our_proofs(index: int, size: int) -> None:
    kept = grown(600)
    path = merkle.inclusion_proof(kept, index, size)

    def entry(hashes: list[bytes]) -> object:
        proof = SimpleNamespace(
            log_index=index, tree_size=size, hashes=hashes, root_hash=merkle.root(kept, size)
        )
        inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=index.to_bytes(4, "big"))
        return SimpleNamespace(_inner=inner)

    verify_merkle_inclusion(entry(path))  # type: ignore[arg-type]
    with pytest.raises(VerificationError):
        verify_merkle_inclusion(entry([flipped(path[0]), *path[1:]]))  # type: ignore[arg-type]
