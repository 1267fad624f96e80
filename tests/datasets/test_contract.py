"""Every connector keeps to the contract, and one from another package is a connector like ours."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pytest

from airflow_mlsec.datasets import (
    Capabilities,
    Connector,
    Container,
    EnvironmentConnections,
    KeptBy,
    Versions,
    connector_of,
)
from airflow_mlsec.datasets.connectors.files._file import FileDataset
from airflow_mlsec.datasets.connectors.sqlite import Sqlite
from airflow_mlsec.datasets.connectors.sqlite._inside import SqliteFiles
from airflow_mlsec.datasets.contract import CANARY, ROWS, ConnectorSample, check_connector
from airflow_mlsec.datasets.sql import SqlDataset
from airflow_mlsec.errors import CheckFailed
from tests.another_package import block, installed, run

URIS = {
    "parquet": "{}/people.parquet",
    "csv": "{}/people.csv",
    "jsonl": "{}/people.jsonl",
    "memory": "memory://lake/contract/people.parquet",
    "sqlite": "sqlite://{}/x.db/peo%20ple",
}
PAGE = "add-a-connector.md"


@pytest.fixture(params=[*URIS, "postgresql"])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ConnectorSample]:
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgres_database")
        known = EnvironmentConnections({"AIRFLOW_CONN_CRM": uri})
        yield ConnectorSample("postgresql://crm/public.people", known)
        return
    yield ConnectorSample(URIS[request.param].format(tmp_path))
    fsspec.filesystem("memory").store.clear()


def test_every_connector_keeps_to_the_contract(sample: ConnectorSample) -> None:
    check_connector(sample)


# --- a contract that could not fail would be none


def _matches_null(found: Any) -> Any:
    def find(self: Any, column: str, values: Any, keep: bool = True, also: Any = ()) -> Any:
        seen = found(self, column, values, keep, also)
        seen.rows += sum(value is None for value in values)
        return seen

    return find


def _deletes_all(_real: Any) -> Any:
    def delete(self: Any, column: str, values: Any, also: Any = (), announce: Any = None) -> int:
        if announce is not None:
            announce(None)
        every = [b for b in self.scan() for b in b.column(column).to_pylist()]
        return int(_real(self, column, [*values, *every]) and 1)

    return delete


def _deaf(real: Any) -> Any:
    def change(self: Any, *given: Any, announce: Any = None, **more: Any) -> Any:
        return real(self, *given, **more)

    return change


def _without_condition(real: Any) -> Any:
    def find(self: Any, column: str, values: Any, keep: bool = True, also: Any = ()) -> Any:
        return real(self, column, values, keep)

    return find


def _half(real: Any) -> Any:
    def scan(self: Any, columns: Any = None, batch_rows: int = 65_536) -> Any:
        for batch in real(self, columns, batch_rows):
            yield batch.slice(0, max(1, batch.num_rows - 1))

    return scan


def _quoting(real: Any) -> Any:
    def find(self: Any, column: str, values: Any, *more: Any, **others: Any) -> Any:
        try:
            return real(self, column, values, *more, **others)
        except Exception as error:
            raise type(error)(f"{error.args[0]} for {values}") from None

    return find


@pytest.mark.parametrize(
    ("name", "broken", "why"),
    [
        ("find_in", _matches_null, "rows are not found"),
        ("find_in", _without_condition, "further condition"),
        ("find_in", _quoting, "has a value in it"),
        ("delete_in", _deletes_all, "other rows were removed"),
        ("delete_in", _deaf, "is not announced"),
        ("update_in", _deaf, "is not announced"),
        ("scan", _half, "does not read back"),
        ("exists", lambda real: lambda self: True, "is there already"),
        ("_purge", lambda real: lambda self, connection, transaction: None, "is still in"),
    ],
)
def test_a_dataset_that_does_something_else_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    broken: Callable[[Any], Any],
    why: str,
) -> None:
    monkeypatch.setattr(SqlDataset, name, broken(getattr(SqlDataset, name)))
    if name == "_purge":
        # With its own precaution gone as well.
        real = SqlDataset._connect

        def unsafe(self: Any, write: bool = False) -> Any:
            return real(self, write)

        monkeypatch.setattr(SqlDataset, "_connect", unsafe)
        monkeypatch.setattr(
            SqlDataset,
            "_in_one_transaction",
            _without_secure_delete(SqlDataset._in_one_transaction),
        )
    with pytest.raises(CheckFailed, match=why):
        check_connector(ConnectorSample(f"sqlite://{tmp_path}/x.db/people"))


def _without_secure_delete(real: Any) -> Any:
    def change(self: Any, parts: Any, step: Any, announce: Any) -> int:
        with self._connect(write=True) as connection:
            connection.exec_driver_sql("PRAGMA secure_delete = OFF")
            return int(self._try(connection, parts, step, announce)[0])

    return change


@pytest.mark.parametrize(
    ("owner", "name", "answer", "why"),
    [
        (Sqlite, "local_path", lambda self, uri: None, "it is local but has no path"),
        (Sqlite, "namespaces", ("other",), "which it does not declare"),
        (Sqlite, "uri_of", lambda self, name: "sqlite:///else.db/t", "another name"),
        (Sqlite, "connection_of", lambda self, uri: "conn", "needs no connection"),
        (Sqlite, "grants", lambda self, uri, connections: [], "nobody can read it"),
        (Sqlite, "read_again", lambda self, uri, connections, left_out: _Nothing, "as clean"),
        (SqliteFiles, "recognises", lambda self, head: False, "not recognised by content"),
        (SqliteFiles, "tables", lambda self, path: [], "is not listed"),
        (SqliteFiles, "rows", lambda self, path, table: iter(()), "sees other rows"),
        (SqliteFiles, "is_beside", lambda self, path: True, "taken for its own"),
        (SqliteFiles, "uri", lambda self, path, table: f"sqlite://{path}/{table}", "another"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_so_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: Any, name: str, answer: Any, why: str
) -> None:
    monkeypatch.setattr(owner, name, answer)
    with pytest.raises(CheckFailed, match=why):
        check_connector(ConnectorSample(f"sqlite://{tmp_path}/x.db/peo%20ple"))


class _Nothing:
    rows: tuple[Any, ...] = ()
    how = "nothing"


def test_a_file_that_is_not_replaced_as_a_whole_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = FileDataset.replacing

    def at_once(self: FileDataset, schema: pa.Schema) -> Any:
        Path(self.location.path).with_suffix(".tmp").write_text("begun")
        return real(self, schema)

    monkeypatch.setattr(FileDataset, "replacing", at_once)
    monkeypatch.setattr("airflow_mlsec.datasets.contract._KILLED", _LEAVING)
    with pytest.raises(CheckFailed, match="left a file that readers see"):
        check_connector(ConnectorSample(f"{tmp_path}/people.parquet"))


_LEAVING = """
import os, signal, sys
open(sys.argv[1] + ".half", "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_rows_of_the_contract_are_of_several_types_and_hold_the_canary() -> None:
    assert CANARY in ROWS.column("who").to_pylist()
    assert {str(t) for t in ROWS.schema.types} >= {"string", "int64", "double", "bool"}


# --- answers


def _answers(base: type) -> dict[str, Any]:
    """A class body with every answer that a base asks for."""
    body: dict[str, Any] = dict.fromkeys(getattr(base, "__annotations__", {}), ())
    body |= {
        name: lambda self, *given: None
        for name, found in vars(base).items()
        if getattr(found, "__isabstractmethod__", False)
    }
    return body


@pytest.mark.parametrize(
    ("base", "forgotten"),
    [(base, name) for base in (Connector, Container, Versions) for name in _answers(base)],
)
def test_who_forgets_an_answer_is_none(base: type, forgotten: str) -> None:
    body = _answers(base)
    type("Whole", (base,), dict(body))
    with pytest.raises(TypeError, match=forgotten):
        type("Half", (base,), {name: value for name, value in body.items() if name != forgotten})


def test_capabilities_have_no_default() -> None:
    whole = {
        "local": True, "files": True, "keeps_writers_apart": True, "absence_is_proof": False, "typed": True,
        "copies": KeptBy.STORE,
    }  # fmt: skip
    Capabilities(**whole)  # type: ignore[arg-type]
    for forgotten in whole:
        with pytest.raises(TypeError, match=forgotten):
            Capabilities(**{n: v for n, v in whole.items() if n != forgotten})  # type: ignore[arg-type]


def test_a_scheme_that_nobody_has_is_one_of_fsspec() -> None:
    assert connector_of("sftp://conn@host/x.csv").name == "files"


# --- a package of somebody else

LAKE = """
from pathlib import Path

import duckdb

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.lineage import record_release
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Handler, approve, get_request
from tests.actors import who
from tests.subjects.lake import POLICY, Lake

HER, NAMES = "anna@x.test", ("raw", "safe", "copy", "notes")


class DuckLake(Lake):
    def at(self, name):
        return open_dataset(f"duckdb://{self.folder}/{name}.duckdb/people")

    def put(self, name, rows):
        with duckdb.connect(str(self.folder / f"{name}.duckdb")) as connection:
            connection.execute("CREATE TABLE people (who VARCHAR, tag BIGINT)")
            connection.executemany("INSERT INTO people VALUES (?, ?)", rows)

    def tags(self, name):
        return sorted(tag for batch in self.at(name).scan() for tag in batch.column("tag").to_pylist())


root = Path.cwd()
lake = DuckLake(root / "lake", Register(f"sqlite:///{root}/register.db"), KeyRing.create(root / "keys"))
lake.put("raw", [(HER, 1), ("ben@x.test", 2), (HER, 3)])
lake.put("copy", [(HER, 6), ("ben@x.test", 7)])
lake.put("notes", [(f"call {HER}", 4), ("nobody", 5)])
raw, safe = lake.at("raw"), lake.at("safe")
policy = parse_policy(POLICY.format(raw=raw.uri, normalize="", method="pseudonymize"), "p")
record_results(lake.register, policy, raw, "source", [], None)
done = anonymize(policy, raw, safe, lake.keys)
record_release(lake.register, lake.keys, policy, raw, safe, done.result("r"))


def said(request):
    return {Path(s.name).parent.stem: (s.status, s.likeness) for s in request.steps if "duckdb" in s.name}


request = lake.opened(HER)
print(said(request))
[copy] = [s.name for s in request.steps if "copy" in s.name]
clerk = Handler(lake.register, lake.keys, who("c"), roots=(str(lake.folder),))
clerk.confirm(request.id, copy, "who", "exported by hand")
approve(lake.register, request.id, who("dpo"), named=["*"])
lake.handler.erase(request.id)
print(said(get_request(lake.register, request.id)))
print({name: lake.tags(name) for name in NAMES})
print([n for n in NAMES if HER.encode() in (lake.folder / f"{n}.duckdb").read_bytes()])
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    points = tomllib.loads(block(PAGE, "toml"))["project"]["entry-points"]
    folder = tmp_path_factory.mktemp("theirs")
    return installed(folder / "site", {"their_connector": block(PAGE, "python")}, points)


opens_a_file_twice = pytest.mark.skipif(
    int(duckdb.__version__.split(".")[0]) < 2,
    reason="the connector of the page needs DuckDB 2: before, a process opens a file of it once",
)


@opens_a_file_twice
def test_a_connector_from_another_package_keeps_to_the_contract(
    theirs: dict[str, str], tmp_path: Path
) -> None:
    done = run(block(PAGE, "python", 1), theirs, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@opens_a_file_twice
def test_a_person_is_found_and_erased_in_tables_of_another_packages_connector(
    theirs: dict[str, str], tmp_path: Path
) -> None:
    """In one file, as the page says: released, found by lineage and by a scan, confirmed, erased, and looked at again."""
    done = run(LAKE, theirs, tmp_path)
    alike = {"copy": ("found", True), "notes": ("found", True)}
    own = {"raw": ("found", False), "safe": ("found", False)}
    assert [eval(line) for line in done.stdout.splitlines()] == [
        {**own, **alike},
        {"raw": ("erased", False), "safe": ("erased", False), "copy": ("erased", False), "notes": ("found", True)},
        # Of what nobody confirmed nothing is touched.
        {"raw": [2], "safe": [2], "copy": [7], "notes": [4, 5]},
        ["notes"],
    ], done.stderr  # fmt: skip


OPEN = """
from airflow_mlsec.datasets import open_dataset
try:
    open_dataset("/x/people.csv")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("changed", "points", "why"),
    [
        (('schemes = ("duckdb",)', 'schemes = ("duckdb", "sqlite")'), {}, "the scheme 'sqlite'"),
        (('namespaces = ("duckdb",)', 'namespaces = ("file",)'), {}, "the namespace 'file'"),
        (('name = "duckdb"', 'name = "files"'), {}, "the name 'files'"),
        (("    versions = None\n", ""), {}, "does not say: versions"),
        (("def grants(", "def grant("), {}, "does not say: grants"),
        (("def is_beside(", "def beside_it("), {}, "does not say: is_beside"),
        (("", ""), {"duckdb": "their_connector:DuckDbTable"}, "is not a Connector"),
        (("", ""), {"duckdb": "their_connectors:DuckDb"}, "cannot be imported"),
    ],
)
def test_a_connector_that_is_half_there_is_refused(
    tmp_path: Path, changed: tuple[str, str], points: dict[str, str], why: str
) -> None:
    code = block(PAGE, "python").replace(*changed) if changed[0] else block(PAGE, "python")
    named = points or {"duckdb": "their_connector:DuckDb"}
    env = installed(
        tmp_path / "site", {"their_connector": code}, {"airflow_mlsec.connectors": named}
    )
    done = run(OPEN, env, tmp_path)
    assert done.stdout.startswith("SettingError"), done.stderr
    assert why in done.stdout


def test_datasets_that_lack_something_are_refused_before_they_are_half_used(tmp_path: Path) -> None:
    code = block(PAGE, "python").replace("def side_effects(", "def effects(")
    points = {"airflow_mlsec.connectors": {"duckdb": "their_connector:DuckDb"}}
    env = installed(tmp_path / "site", {"their_connector": code}, points)
    done = run(OPEN.replace("/x/people.csv", "duckdb:///x/y.duckdb/t"), env, tmp_path)
    assert "have no side_effects" in done.stdout
