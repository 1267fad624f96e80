"""Single rows are found and removed, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.datasets import Condition, Dataset, open_dataset
from airflow_mlsec.errors import ChangedMeanwhile, ColumnMissing
from airflow_mlsec.files import replacing


def test_statistics_rule_out_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "sorted.parquet"
    pq.write_table(
        pa.table({"id": range(100_000), "x": range(100_000)}), path, row_group_size=1_000
    )
    found = open_dataset(str(path)).find_in("id", [42_042])
    assert (found.rows, found.rows_read, found.rows_pruned) == (1, 1_000, 99_000)
    assert found.batches[0].to_pylist() == [{"id": 42_042, "x": 42_042}]
    assert "1000 of 100000 rows read" in found.effort()
    nothing = open_dataset(str(path)).find_in("id", [-1])
    assert (nothing.rows, nothing.rows_read) == (0, 0)


def test_parquet_keeps_its_schema_metadata_and_the_other_rows(tmp_path: Path) -> None:
    table = pa.table(
        {
            "who": pa.array(["a", "b", None, "a", "c"]).dictionary_encode(),
            "list": [[1], [], None, [2, 3], [4]],
            "struct": [{"x": 1}, {"x": None}, None, {"x": 3}, {"x": 4}],
            "money": pa.array([Decimal("1.10")] * 5, pa.decimal128(9, 2)),
            "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 5, pa.timestamp("ns", "UTC")),
        }
    ).replace_schema_metadata({"pandas": "{}", "mine": "kept"})
    path = tmp_path / "all.parquet"
    pq.write_table(table, path, row_group_size=2, compression="gzip")
    before = pq.ParquetFile(path)
    assert open_dataset(str(path)).delete_in("who", ["a"]) == 2
    after = pq.ParquetFile(path)
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.metadata.row_group(0).column(0).compression == "GZIP"
    assert pq.read_table(path).to_pylist() == [r for r in table.to_pylist() if r["who"] != "a"]
    assert open_dataset(str(path)).delete_in("who", ["a"]) == 0


CSV = 'who;text\r\n"a;1";"two\r\nlines"\r\nb;"say ""hi"""\r\na;plain\r\n;empty\r\na;last'


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_csv_records_that_stay_keep_their_bytes(tmp_path: Path, bom: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(bom + CSV.encode())
    assert open_dataset(str(path)).delete_in("who", ["a"]) == 2
    left = 'who;text\r\n"a;1";"two\r\nlines"\r\nb;"say ""hi"""\r\n;empty\r\n'
    assert path.read_bytes() == bom + left.encode()


def test_json_lines_that_stay_keep_their_bytes(tmp_path: Path) -> None:
    lines = [
        '{"who": "a", "n": 1.10}',
        "",
        '{ "who":"b" , "n": 2}',
        '{"n": 3}',
        '{"who": "\\u0061", "n": 4}',
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines) + "\n")
    assert open_dataset(str(path)).delete_in("who", ["a"]) == 2
    assert path.read_text().splitlines() == lines[1:4]
    assert [json.loads(line) for line in lines[2:4]]


def test_only_the_files_of_a_folder_that_hold_the_row_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    (folder / "day=1").mkdir(parents=True)
    for name, people in (("a.parquet", ["x", "y"]), ("day=1/b.PARQUET", ["y"]), ("c.pq", ["z"])):
        pq.write_table(pa.table({"who": people}), folder / name)
    untouched = (folder / "c.pq").stat().st_mtime_ns
    assert open_dataset(str(folder)).delete_in("who", ["y"]) == 2
    assert (folder / "c.pq").stat().st_mtime_ns == untouched
    assert [r for b in open_dataset(str(folder)).scan() for r in b.column(0).to_pylist()] == [
        "x",
        "z",
    ]


def test_rows_can_be_kept_by_another_column(tmp_path: Path, write: Callable[..., str]) -> None:
    table = pa.table({"day": [1, 1, 2, 1], "who": ["a", "b", "a", None]})
    for place in (
        tmp_path / "x.parquet",
        tmp_path / "x.csv",
        tmp_path / "x.jsonl",
        f"sqlite://{tmp_path}/x.db/t",
    ):
        dataset = open_dataset(write(place, table))
        assert dataset.delete_in("day", [1], [Condition("who", ["a"], has=False)]) == 2
        left = [row for batch in dataset.scan() for row in batch.to_pylist()]
        assert left == [{"day": 1, "who": "a"}, {"day": 2, "who": "a"}]


def test_a_file_that_another_wrote_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    before = path.stat()
    with pytest.raises(ChangedMeanwhile, match="another program"):
        with replacing(path, unless_changed_since=before) as file:
            file.write(b"two")
            path.write_bytes(b"three")
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


def shuffled(path: Path, filters: bool) -> list[str]:
    """A file whose statistics rule nothing out: keys in no order."""
    keys = [
        f"{hashlib.sha256(str(i).encode()).hexdigest()[:20]}@example.org" for i in range(40_000)
    ]
    table = pa.table({"who": keys, "number": pa.array(range(40_000), pa.int64())})
    options = {"who": {"ndv": 2_000, "fpp": 0.001}} if filters else None
    pq.write_table(table, path, row_group_size=2_000, bloom_filter_options=options)
    return keys


def test_bloom_filters_rule_out_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "odd [1]*?.parquet"
    keys = shuffled(path, filters=True)
    found = open_dataset(str(path)).find_in("who", [keys[31_000], keys[9]])
    assert found.rows == 2
    assert found.rows_read <= 6_000
    assert found.rows_pruned == 40_000 - found.rows_read
    assert "bloom filters" in found.effort()
    assert open_dataset(str(path)).find_in("who", ["nobody@example.org"]).rows == 0
    # What a row is removed from keeps its filters.
    assert open_dataset(str(path)).delete_in("who", [keys[31_000]]) == 1
    again = open_dataset(str(path)).find_in("who", [keys[9]])
    assert again.rows == 1
    assert again.rows_read < 20_000


def test_without_filters_every_row_group_is_read(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    keys = shuffled(path, filters=False)
    found = open_dataset(str(path)).find_in("who", [keys[31_000]])
    assert (found.rows, found.rows_read) == (1, 40_000)


def test_conditions_narrow_what_is_found(tmp_path: Path) -> None:
    for dataset in every_kind(tmp_path, [("a", 1), ("a", 2), ("b", 2), (None, 2), ("a", None)]):
        found = dataset.find_in("who", ["a"], also=[Condition("number", [2])])
        assert [batch.to_pylist() for batch in found.batches] == [[{"who": "a", "number": 2}]]
        others = dataset.find_in("who", ["a"], False, [Condition("number", [2], has=False)])
        assert others.rows == 2, dataset.uri  # a null is not 2
        assert dataset.find_in("who", ["a"], False, [Condition("number", [])]).rows == 0
        assert dataset.find_in("who", ["a"], False, [Condition("number", [], has=False)]).rows == 3


def test_rows_are_changed_and_no_others(tmp_path: Path) -> None:
    rows = [("a", 1), ("a", 2), ("b", 2), (None, 2), ("a", None)]
    for dataset in every_kind(tmp_path, rows):
        changes = {"who": 'Zoë "x", y', "number": 7}
        assert dataset.update_in("who", ["a"], changes, [Condition("number", [2], has=False)]) == 2
        now = [tuple(row.values()) for batch in dataset.scan() for row in batch.to_pylist()]
        new = ('Zoë "x", y', 7)
        assert now == [new, ("a", 2), ("b", 2), (None, 2), new], dataset.uri
        with pytest.raises(ColumnMissing, match="nmber"):
            dataset.update_in("who", ["a"], {"nmber": 1})


def test_a_changed_record_leaves_the_bytes_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(CSV.encode())
    assert open_dataset(str(path)).update_in("who", ["b"], {"text": "new;\nline"}) == 1
    expected = CSV.replace('b;"say ""hi"""', 'b;"new;\nline"').encode()
    assert path.read_bytes() == expected
    lines = tmp_path / "x.jsonl"
    lines.write_bytes(b'{"who": "a", "n": 1.10}\r\n{ "who" : "b","n":2.50}\n')
    assert open_dataset(str(lines)).update_in("who", ["a"], {"who": "é"}) == 1
    assert lines.read_bytes() == '{"who": "é", "n": 1.10}\r\n{ "who" : "b","n":2.50}\n'.encode()


def test_dictionary_columns_stay_so_when_changed(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    table = pa.table({"who": pa.array(["a", "b"]).dictionary_encode(), "n": [1, 2]})
    pq.write_table(table, path)
    assert open_dataset(str(path)).update_in("n", [1], {"who": "c"}) == 1
    after = pq.read_table(path)
    assert after.schema.equals(table.schema)
    assert after.to_pylist() == [{"who": "c", "n": 1}, {"who": "b", "n": 2}]


def every_kind(folder: Path, rows: list[tuple[str | None, int | None]]) -> Iterator[Dataset]:
    schema = pa.schema([("who", pa.string()), ("number", pa.int64())])
    batch = pa.RecordBatch.from_pylist([{"who": w, "number": n} for w, n in rows], schema)
    places = [str(folder / f"t.{ending}") for ending in ("parquet", "csv", "jsonl")]
    for uri in [*places, f"sqlite://{folder / 't.db'}/t"]:
        dataset = open_dataset(uri)
        with dataset.replacing(schema) as staged:
            staged.write(batch)
        yield dataset


@pytest.mark.parametrize("filters", [False, True])
def test_nested_and_odd_columns_hide_no_row(tmp_path: Path, filters: bool) -> None:
    """Leaves are not fields: a structure before the key moves it."""
    keys = [f"k{i % 7}" for i in range(700)]
    nested = [{"x": "q", "y": str(i), "mail": "z"} for i in range(700)]
    tables = {
        "structure first": {"s": nested, "mail": keys},
        "list first": {"l": [[1, 2]] * 700, "mail": keys},
        "names that differ in case": {"Mail": ["z"] * 700, "mail": keys},
        "a name with a dot": {"s": nested, "s.mail": ["a"] * 700, "mail": keys},
    }
    for name, columns in tables.items():
        path = tmp_path / f"{name}.parquet"
        table = pa.table(columns)
        options = {"mail": True} if filters else None
        pq.write_table(table, path, row_group_size=100, bloom_filter_options=options)
        assert open_dataset(str(path)).find_in("mail", ["k3"]).rows == 100, name
        if "s.mail" in columns:
            assert open_dataset(str(path)).find_in("s.mail", ["a"]).rows == 700
        assert open_dataset(str(path)).delete_in("mail", ["k3"]) == 100, name


def test_a_folder_is_checked_before_its_first_file_is_changed(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    pq.write_table(pa.table({"who": ["a"], "age": [1]}), folder / "1.parquet")
    pq.write_table(pa.table({"who": ["a"]}), folder / "2.parquet")
    before = (folder / "1.parquet").read_bytes()
    with pytest.raises(ColumnMissing, match="age"):
        open_dataset(str(folder)).update_in("who", ["a"], {"age": 2})
    assert (folder / "1.parquet").read_bytes() == before


def test_a_column_that_ignores_case_is_compared_exactly(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (who TEXT COLLATE NOCASE)")
    connection.executemany("INSERT INTO t VALUES (?)", [("a@x.example",), ("A@X.example",)])
    connection.commit()
    connection.close()
    dataset = open_dataset(f"sqlite://{tmp_path}/x.db/t")
    assert dataset.delete_in("who", ["a@x.example"]) == 1
    assert [row["who"] for b in dataset.scan() for row in b.to_pylist()] == ["A@X.example"]


def test_columns_of_views_are_rows_as_well(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    table = pa.table(
        {
            "who": pa.array(["a", "b", "a", None], pa.string_view()),
            "raw": pa.array([b"1", None, b"3", b"4"], pa.binary_view()),
            "n": [1, 2, 3, 4],
        }
    )
    pq.write_table(table, path)
    dataset = open_dataset(str(path))
    found = dataset.find_in("who", ["a"])
    assert [row["n"] for batch in found.batches for row in batch.to_pylist()] == [1, 3]
    assert dataset.update_in("who", ["b"], {"who": "c"}) == 1
    assert dataset.delete_in("who", ["a"]) == 2
    after = pq.read_table(path)
    assert after.schema.equals(table.schema)
    assert after.to_pylist() == [
        {"who": "c", "raw": None, "n": 2},
        {"who": None, "raw": b"4", "n": 4},
    ]
