"""What every connector must do, for tests of connectors: those of this package and of others follow it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connections import EnvironmentConnections
from airflow_mlsec.datasets._connector import Connector
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint, Local, Unknown
from airflow_mlsec.datasets._found import Condition
from airflow_mlsec.datasets._registry import connector_of, container_of, open_dataset, same_place
from airflow_mlsec.errors import (
    CheckFailed,
    ColumnMissing,
    DatasetNotFound,
    MlsecError,
    UnsupportedDataset,
)
from airflow_mlsec.naming import DatasetName, names_files

# A value that must not be anywhere once it is deleted, nor in any message.
CANARY = "canary.person@mlsec.invalid"
ROWS = pa.table(
    {
        "who": [CANARY, "ben@x.test", None, "Zoë 🌍", 'a\nb,"q"'],
        "number": [1, 2, None, 2, -3],
        "share": [1.5, -2.25, None, 0.1, 3.0],
        "flag": [True, None, False, True, True],
        "day": [date(2020, 1, 2), None, date(1999, 12, 31), date(2020, 1, 2), date(1970, 1, 1)],
    }
)


@dataclass(frozen=True)
class ConnectorSample:
    """Where a connector can be tried: a dataset that does not exist yet, in a writable place.

    :ivar uri: Of the dataset.
    :ivar connections: Through which it is reached.
    """

    uri: str
    connections: Connections = field(default_factory=EnvironmentConnections)


def check_connector(sample: ConnectorSample) -> None:
    """Check that a connector does what every connector must do.

    What it declares is consistent; what is written reads back, as a whole or not at all, even if the writer is
    killed; rows are found, removed and rectified, and no others; what is removed is gone from every file; the second
    look sees every column; and no message contains a value.

    :raises CheckFailed: with what it does not do.
    """
    trial = _Trial(sample)
    for check in (
        trial.answers,
        trial.nothing_there,
        trial.replaced_whole,
        trial.killed,
        trial.found,
        trial.announced,
        trial.changed,
        trial.gone,
    ):
        check()


class _Trial:
    def __init__(self, sample: ConnectorSample) -> None:
        self.uri, self.connections = sample.uri, sample.connections
        self.connector: Connector = connector_of(sample.uri)
        self.can = self.connector.capabilities(sample.uri)

    # --- what it says

    def answers(self) -> None:
        opened, connector = self.open(), self.connector
        scheme = opened.name.namespace.partition("://")[0]
        other = scheme not in connector.namespaces and "*" not in connector.schemes
        self.demand(not other, f"its names have namespace '{scheme}', which it does not declare")
        again = open_dataset(opened.uri, self.connections)
        self.demand(
            (again.uri, again.name) == (opened.uri, opened.name),
            "the URI of a dataset leads to another one",
        )
        self.demand(same_place(opened, again), "a dataset is not recognised as itself")
        uri = connector.uri_of(opened.name)
        self.demand(
            uri is None or connector.dataset_name(uri) == opened.name,
            "the URI that a name gives has another name",
        )
        elsewhere = DatasetName(f"{scheme}://elsewhere", opened.name.name)
        uri = connector.uri_of(elsewhere) if self.can.local else None
        self.demand(uri is None, "a dataset of another machine is taken for a local one")
        path = connector.local_path(self.uri)
        self.demand(
            self.can.local == (path is not None), "it is local but has no path, or the reverse"
        )
        self.demand(
            not self.can.local or connector.connection_of(self.uri) is None,
            "what is on this machine needs no connection",
        )
        self.demand(
            not self.can.files or names_files(opened.name.namespace) or scheme == "memory",
            f"its datasets are files, but '{scheme}' is not a namespace of files (airflow_mlsec.naming)",
        )
        container = connector.container
        if container is not None:
            self.demand(
                self.can.local and not self.can.files, "tables in files are local, and not files"
            )
            file, table = container.split(opened.uri)
            self.demand(file == path, "its tables are in another file than `local_path` says")
            self.demand(
                container.uri(file, table) == opened.uri, "the URI of a file and a table differs"
            )
            for odd in ("a/b.c d%20", "/t", "./t", "../t", "t/"):
                uri = container.uri(file, odd)
                self.demand(
                    container.split(uri) == (file, odd),
                    "a table whose name has a slash, a dot, a blank or a percent sign is taken for another",
                )
        refused = self.refusal(
            lambda: connector.dataset_name(f"{self.scheme()}://user:geheim@host/a/b"),
        )
        self.demand(
            refused is not None and "geheim" not in refused,
            "it accepts a password in a URI, or repeats it",
        )

    def _transport(self) -> None:
        for kind in self.connector.connection_types:
            facts = ConnectionFacts("c", kind, "db.mlsec.invalid", None, None, {"password": CANARY})
            try:
                found = self.connector.endpoint(facts)
                self.demand(
                    isinstance(found, Endpoint), f"connections of type '{kind}' have no endpoint"
                )
                self.demand(CANARY not in repr(found), "an endpoint has a secret in it")
            except (Local, Unknown) as error:
                self.demand(
                    CANARY not in str(error), "an error about a connection has a secret in it"
                )

    def nothing_there(self) -> None:
        opened = self.open()
        self.demand(not opened.exists(), "the sample's dataset is there already")
        self.raises(DatasetNotFound, opened.schema, "the columns of what is not there")
        self.raises(DatasetNotFound, lambda: list(opened.scan()), "the rows of what is not there")
        self.demand(opened.digest() is None, "what is not there has a digest")
        self.demand(
            self.refusal(lambda: list(self.read_again())) is not None or not self.can.local,
            "the second look accepts a missing dataset as clean",
        )

    # --- writing

    def replaced_whole(self) -> None:
        try:
            with self.open().replacing(ROWS.schema) as staged:
                staged.write(ROWS.to_batches()[0])
                raise _Stop
        except _Stop:
            pass
        self.demand(not self.open().exists(), "a writer that failed left something")
        self.put(ROWS)
        self.same(ROWS, "what was written does not read back")
        with self.open().replacing(ROWS.schema) as staged:
            staged.write(ROWS.slice(0, 1).to_batches()[0])
            self.same(ROWS, "readers see what is not published yet")
            read = [row for batch in staged.scan() for row in batch.to_pylist()]
            self.demand(read == ROWS.slice(0, 1).to_pylist(), "what was staged does not read back")
            digest = staged.digest()
        self.same(ROWS.slice(0, 1), "what was published differs from what was written")
        self.demand(
            self.open().digest() == digest, "what was published has another digest than was staged"
        )
        self.put(ROWS.select(["number", "who"]))
        self.same(ROWS.select(["number", "who"]), "columns cannot change between versions")
        self.put(pa.concat_tables([ROWS] * 3))
        batches = list(self.open().scan(["flag", "who"], batch_rows=4))
        self.demand(
            [b.schema.names for b in batches] == [["flag", "who"]] * len(batches),
            "columns are not read in the order in which they are asked for",
        )
        self.demand(sum(b.num_rows for b in batches) == 15, "batches lose rows")
        self.demand(
            sum(b.num_rows for b in self.open().scan([])) == 15,
            "rows are not counted if no column is read",
        )
        self.put(ROWS)

    def killed(self) -> None:
        """Nothing that a killed writer wrote is visible, and nothing is left once another has written."""
        path = self.connector.local_path(self.uri)
        if path is None:
            return
        before, all_before = _seen(path.parent), set(path.parent.iterdir())
        done = subprocess.run(  # noqa: S603 - this interpreter, and text of ours
            [sys.executable, "-c", _KILLED, self.uri],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            check=False,
        )
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        self.demand(
            done.returncode == -9, f"the writer that was to be killed did not get that far: {said}"
        )
        self.same(ROWS, "a killed writer has changed the dataset")
        self.demand(_seen(path.parent) == before, "a killed writer left a file that readers see")
        self.put(ROWS)
        left = {p.name for p in set(path.parent.iterdir()) - all_before}
        self.demand(not left, f"the next writer leaves what a killed one had written: {left}")

    # --- rows

    def found(self) -> None:
        opened = self.open()
        for column, values, rows in (
            ("who", [CANARY, "nobody"], 1),
            ("number", [2], 2),
            ("number", ["no number"], 0),
            ("number", ["no number", 2], 2),
            ("day", [date(2020, 1, 2)], 2),
            ("who", [None], 0),
            ("flag", [True], 3),
        ):
            found = opened.find_in(column, values)
            shown = [row for batch in found.batches for row in batch.to_pylist()]
            wanted = [r for r in ROWS.to_pylist() if r[column] is not None and r[column] in values]
            self.demand(
                found.rows == rows and shown == wanted, f"rows are not found by their {column}"
            )
            self.demand(
                opened.find_in(column, values, keep=False).rows == rows,
                "the number of rows differs",
            )
        both = opened.find_in("number", [2], also=[Condition("flag", [True])])
        self.demand(both.rows == 1, "a further condition is not applied")
        none = opened.find_in("number", [2], also=[Condition("who", ["ben@x.test"], has=False)])
        self.demand(none.rows == 1, "a condition that rows must not meet is not applied")
        self.raises(ColumnMissing, lambda: opened.find_in("whoo", [CANARY]), "a wrong column")
        self.raises(ColumnMissing, lambda: list(opened.scan(["whoo"])), "a wrong column")

    def announced(self) -> None:
        """A failure at the last moment changes nothing."""

        def fail(digest: str | None) -> None:
            raise _Stop

        opened = self.open()
        changes: list[Callable[[], int]] = [
            lambda: opened.delete_in("who", [CANARY], announce=fail),
            lambda: opened.update_in("who", [CANARY], {"number": 9}, announce=fail),
        ]
        for change in changes:
            try:
                change()
                self.demand(False, "a change of rows is not announced before it happens")
            except _Stop:
                pass
        self.same(ROWS, "rows were changed although announcing it failed")

    def changed(self) -> None:
        opened, said = self.open(), list[str | None]()
        rows = opened.update_in("number", [2], {"share": 7.5, "who": "same"}, announce=said.append)
        wanted = [
            {**row, "share": 7.5, "who": "same"} if row["number"] == 2 else row
            for row in ROWS.to_pylist()
        ]
        self.demand(rows == 2, "the number of rectified rows differs")
        # A table may return a changed row in another position.
        self.demand(
            sorted(repr(sorted(row.items())) for row in self.rows())
            == sorted(repr(sorted(row.items())) for row in wanted),
            "rows are rectified incorrectly",
        )
        self.demand(
            set(said) <= {None, self.open().digest()}, "it announced another file than it wrote"
        )
        self.raises(
            ColumnMissing,
            lambda: opened.update_in("number", [2], {"whoo": CANARY}),
            "a wrong column to rectify",
        )
        self.demand(
            opened.update_in("number", [99], {"who": "x"}) == 0, "rows not meant are changed"
        )

    def gone(self) -> None:
        seen = [{**row, **said} for row, said in self.read_again()]
        self.demand(
            any(CANARY in map(str, row.values()) for row in seen),
            "the second look does not see a row",
        )
        self.demand(
            all(set(row) >= set(ROWS.schema.names) for row in seen),
            "the second look leaves a column out",
        )
        left = [r for r in self.rows() if r["who"] != CANARY]
        self.demand(
            self.open().delete_in("who", [CANARY]) == 1, "the number of removed rows differs"
        )
        self.demand(self.rows() == left, "other rows were removed with those that were meant")
        self.demand(self.open().delete_in("who", [CANARY]) == 0, "rows are removed twice")
        self.demand(
            not any(CANARY in map(str, row.values()) for row, _ in self.read_again()),
            "the second look sees a row that is gone",
        )
        try:
            grants = self.connector.grants(self.uri, self.connections)
            self.demand(bool(grants), "nobody can read it, or write to it")
        except UnsupportedDataset:
            pass
        path = self.connector.local_path(self.uri)
        if path is not None:
            kept = [p.name for p in _beside(path) if CANARY.encode() in p.read_bytes()]
            self.demand(not kept, f"what was removed is still in {', '.join(kept)}")
        self.inside(path)

    def inside(self, path: Path | None) -> None:
        container = self.connector.container
        if container is None or path is None:
            return
        self.demand(container_of(path) is container, "its files are not recognised by content")
        for odd in ("a/b.c d%20", "/t", "./t", "../t", "t/"):
            named = self.connector.uri_of(self.connector.dataset_name(container.uri(path, odd)))
            self.demand(
                named is None or container.split(named) == (path, odd),
                "the name of a table with a slash in it leads to another table",
            )
        _, table = container.split(self.open().uri)
        self.demand(table in container.tables(path), "a table of a file is not listed")
        rows = sum(batch.num_rows for batch in container.rows(path, table))
        self.demand(rows == len(self.rows()), "a scan of a file sees other rows")
        for searched in (True, False):
            for part in container.beside(path, searched):
                self.demand(
                    (part.read is None) == bool(part.unread),
                    "a part of a file is neither read, nor said to be unread",
                )
                for piece in part.read() if part.read is not None else ():
                    self.demand(
                        isinstance(piece, pa.RecordBatch | bytes),
                        "a part is neither rows nor bytes",
                    )
        for ending in ("-wal", "-journal", "-shm", ".wal", ".log", ".tmp"):
            note = path.with_name(f"{path.name}{ending}")
            if not note.exists():
                note.write_text(f"notes: {CANARY}")
                self.demand(
                    not container.is_beside(note), f"a note called …{ending} is taken for its own"
                )
                note.unlink()

    # ---

    def open(self) -> Dataset:
        return open_dataset(self.uri, self.connections)

    def scheme(self) -> str:
        return self.uri.partition("://")[0] if "://" in self.uri else "s3"

    def put(self, table: pa.Table) -> None:
        with self.open().replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.open().scan() for row in batch.to_pylist()]

    def read_again(self) -> Iterator[Any]:
        return self.connector.read_again(self.uri, self.connections, ()).rows

    def same(self, table: pa.Table, why: str) -> None:
        # A table that is altered in place has its new columns last.
        names = sorted(table.schema.names)
        found = pa.Table.from_batches(list(self.open().scan()))
        self.demand(sorted(found.schema.names) == names, f"{why}: other columns")
        self.demand(found.to_pylist() == table.to_pylist(), why)
        self.demand(self.rows() == table.to_pylist(), f"{why}: rows come in another order")
        self.demand(sorted(self.open().schema().names) == names, f"{why}: other columns")

    def raises(self, kind: type[MlsecError], act: Any, what: str) -> None:
        try:
            act()
        except kind as error:
            self.demand(CANARY not in str(error), f"an error about {what} has a value in it")
        except Exception as error:
            self.demand(False, f"{what}: {type(error).__name__} and not {kind.__name__}")
        else:
            self.demand(False, f"{what} is accepted")

    def refusal(self, act: Any) -> str | None:
        try:
            act()
        except MlsecError as error:
            return str(error)
        return None

    def demand(self, holds: bool, why: str) -> None:
        if not holds:
            raise CheckFailed(f"connector '{self.connector.name}': {why}")


class _Stop(Exception):
    """Ends a writer."""


# Runs in a process of its own, which ends in the middle.
_KILLED = """
import os, signal, sys
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.datasets.contract import ROWS

with open_dataset(sys.argv[1]).replacing(ROWS.schema) as staged:
    staged.write(ROWS.to_batches()[0])
    staged.write(ROWS.to_batches()[0])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _seen(folder: Path) -> set[str]:
    """The files of a folder that readers of folders see."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _beside(path: Path) -> Iterable[Path]:
    """A file, and files next to it whose names begin with its own."""
    return [p for p in path.parent.iterdir() if p.is_file() and path.name in p.name]
