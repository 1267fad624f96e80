"""Which errors of databases may pass, against real servers: one that is down, one that refuses, one that is full."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_mlsec import databases, files
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import DatabaseUnavailable, DatasetError, RegisterError, StorageFull
from airflow_mlsec.hooks.errors import PrivacyTaskError, PrivacyTaskFailed, without_values
from airflow_mlsec.register import Register

TABLE = "postgresql://shop/public.people"


def connection(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_database_that_is_down_may_be_there_later(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    connection(monkeypatch, f"postgresql://anna:geheim@127.0.0.1:{free_port}/shop")
    with pytest.raises(DatabaseUnavailable) as raised:
        open_dataset(TABLE).schema()
    said = str(raised.value)
    assert f"at 127.0.0.1:{free_port}" in said
    assert "geheim" not in said
    assert "anna" not in said
    assert raised.value.retry
    # Airflow retries what is not a failure for good.
    with pytest.raises(PrivacyTaskError) as task, without_values():
        open_dataset(TABLE).schema()
    assert not isinstance(task.value, AirflowFailException)
    assert isinstance(task.value.error, DatabaseUnavailable)


@pytest.fixture
def locked_role(postgres_uri: str) -> str:
    """The URI of a role that must give its password, with the wrong one."""
    folder = Path(parse_qs(urlsplit(postgres_uri).query)["host"][0])
    engine = sa.create_engine(
        postgres_uri.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    rules = folder / "pg_hba.conf"
    with engine.connect() as server:
        server.exec_driver_sql("DROP ROLE IF EXISTS locked")
        server.exec_driver_sql("CREATE ROLE locked LOGIN PASSWORD 'right'")
        if "locked" not in rules.read_text():
            rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
        server.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()
    return postgres_uri.replace("//postgres:@", "//locked:geheim@").replace(
        "//postgres@", "//locked:geheim@"
    )


def test_a_wrong_password_is_not_tried_again(
    locked_role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries would lock the account."""
    assert "locked:geheim@" in locked_role
    connection(monkeypatch, locked_role)
    with pytest.raises(DatasetError) as raised:
        open_dataset(TABLE).schema()
    assert not isinstance(raised.value, DatabaseUnavailable)
    assert "the database refused (OperationalError at /" in str(raised.value)
    assert "geheim" not in str(raised.value)
    with pytest.raises(PrivacyTaskFailed), without_values():
        open_dataset(TABLE).schema()
    # The register's is no different.
    with pytest.raises(PrivacyTaskFailed, match="RegisterError"), without_values():
        Register(locked_role).version()


@pytest.mark.parametrize("wrong", ["role", "database"])
def test_what_does_not_exist_is_not_tried_again(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    uri = postgres_uri.replace("/postgres?", "/nowhere?")
    if wrong == "role":
        uri = postgres_uri.replace("//postgres:@", "//nobody:@").replace("//postgres@", "//nobody@")
    assert uri != postgres_uri
    connection(monkeypatch, uri)
    with pytest.raises(DatasetError, match="refused") as raised:
        open_dataset(TABLE).schema()
    assert not raised.value.retry


def test_sqlstates_say_what_may_pass() -> None:
    def error(state: str | None, text: str = "") -> sa.exc.DBAPIError:
        original = type("Original", (Exception,), {"sqlstate": state})(text)
        return sa.exc.OperationalError("s", {}, original)

    for passing in ("08006", "57P01", "57P03", "53100", "53300", "40001", "58030", "55P03"):
        assert databases.may_pass(error(passing)), passing
    for lasting in ("28P01", "28000", "3D000", "42P01", "42501", "22003", "23505"):
        assert not databases.may_pass(error(lasting)), lasting
    assert databases.may_pass(error(None, "FATAL:  the database system is starting up"))
    assert databases.may_pass(error(None, 'FATAL:  sorry, too many connections for role "x"'))
    assert not databases.may_pass(
        error(None, 'FATAL:  password authentication failed for user "x"')
    )


@pytest.fixture
def full_device(tmp_path: Path) -> Iterator[Path]:
    """A folder whose device has 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small device needs root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_device_without_space_is_named_and_nothing_is_replaced(full_device: Path) -> None:
    target = full_device / "people.csv"
    target.write_text("before\n")
    with pytest.raises(StorageFull) as raised, files.replacing(target) as file:
        for _ in range(100):
            file.write(b"x" * 1024)
    assert f"no space is left on the device of {full_device} (ENOSPC)" in str(raised.value)
    assert "people.csv" in str(raised.value)
    assert target.read_text() == "before\n"
    assert [path.name for path in full_device.iterdir()] == ["people.csv"]


def test_no_space_for_temporary_files_is_said_too() -> None:
    with (
        pytest.raises(PrivacyTaskError, match="StorageFull: no space is left") as raised,
        without_values(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(raised.value.error, StorageFull)
    assert isinstance(raised.value.error, OSError)
    with pytest.raises(RegisterError):
        raise RegisterError("x", retry=False)
