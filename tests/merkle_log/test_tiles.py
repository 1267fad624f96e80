"""Names of files and bundles against the examples of https://c2sp.org/tlog-tiles."""

from __future__ import annotations

import pytest

from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.merkle_log._tiles import bundle, entries_in, entries_path, tile_path, tiles_of


@pytest.mark.parametrize(("index", "path"), [
    (0, "000"), (7, "007"), (999, "999"), (1_000, "x001/000"), (1_234_067, "x001/x234/067"), (1_000_000_000, "x001/x000/x000/000"),
])  # fmt: skip
def test_paths_are_those_of_the_specification(index: int, path: str) -> None:
    assert tile_path(2, index) == f"tile/2/{path}"
    assert tile_path(0, index, 112) == f"tile/0/{path}.p/112"
    assert entries_path(index) == f"tile/entries/{path}"
    assert entries_path(index, 1) == f"tile/entries/{path}.p/1"


def test_a_log_of_70000_has_the_tiles_of_the_specification() -> None:
    tiles = list(tiles_of(70_000))
    assert [t for t in tiles if t[2] == 256 and t[0] == 0] == [(0, i, 256) for i in range(273)]
    assert [t for t in tiles if t[2] != 256 or t[0]] == [(0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)]  # fmt: skip
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []


def test_bundles_are_read_as_they_were_written() -> None:
    entries = [b"", b"x" * 32, b"y" * 65_535]
    assert entries_in(bundle(entries), "x") == entries
    for cut in (1, 3, 33, 35):
        with pytest.raises(BrokenLog, match="ends within an entry"):
            entries_in(bundle(entries)[:-65_537][:cut], "x")
