from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_mlsec.errors import RegisterError
from airflow_mlsec.register import (
    Register,
    enrich_columns,
    find_dataset,
    set_dataset,
    upsert,
)
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._register import HEAD


def test_the_first_use_makes_the_schema_and_the_migrations_make_this_version_s(
    register: Register,
) -> None:
    assert register.version() is None
    assert register.rows(sa.select(t.dataset)) == []
    assert register.version() == HEAD
    assert register.differences() == []
    assert register.upgrade() == (HEAD, HEAD)


def test_differences_are_found(register: Register) -> None:
    register.upgrade()
    register.write(lambda c: c.exec_driver_sql("ALTER TABLE mlsec_alert ADD COLUMN extra TEXT"))
    assert any("extra" in line for line in register.differences())


def test_a_newer_schema_is_refused(register: Register) -> None:
    register.upgrade()
    register.write(
        lambda c: c.exec_driver_sql("UPDATE mlsec_schema_version SET version_num='9999'")
    )
    with pytest.raises(RegisterError, match="upgrade airflow-mlsec"):
        Register(register._url.render_as_string(hide_password=False)).upgrade()


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "airflow_mlsec.register:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_upsert_keeps_the_id_and_what_is_not_given(register: Register) -> None:
    def work(connection: sa.Connection) -> None:
        now = register.now()
        first = set_dataset(connection, "file", "/a.csv", now, uri="file:///a.csv", rows=3)
        again = set_dataset(connection, "file", "/a.csv", now, kind="artifact")
        assert first == again
        row = connection.execute(sa.select(t.dataset)).one()
        assert (row.uri, row.rows, row.kind) == ("file:///a.csv", 3, "artifact")
        ids = enrich_columns(
            connection, first, [{"name": "x", "type": "int64", "role": "sensitive"}]
        )
        assert enrich_columns(connection, first, [{"name": "x", "type": None}]) == ids
        assert connection.execute(sa.select(t.declared_column.c.role)).scalar_one() == "sensitive"

    register.write(work)


def test_a_failed_transaction_leaves_nothing(register: Register) -> None:
    def work(connection: sa.Connection) -> None:
        set_dataset(connection, "file", "/a.csv", register.now())
        connection.exec_driver_sql("SELECT * FROM no_such_table")

    with pytest.raises(RegisterError):
        register.write(work)
    assert register.rows(sa.select(t.dataset)) == []


def test_datasets_are_found_by_uri_name_or_ending(register: Register) -> None:
    def work(connection: sa.Connection) -> None:
        for name in ("/lake/a.csv", "/other/a.csv", "/lake/b%_.csv"):
            set_dataset(connection, "file", name, register.now(), uri=f"file://{name}")

    register.write(work)

    def names(text: str) -> list[str]:
        return [row.name for row in register.read(lambda c: find_dataset(c, text))]

    assert names("file:///lake/a.csv") == names("/lake/a.csv") == ["/lake/a.csv"]
    assert sorted(names("a.csv")) == ["/lake/a.csv", "/other/a.csv"]
    assert names("b%_.csv") == ["/lake/b%_.csv"]
    assert names("%.csv") == names("'; DROP TABLE mlsec_dataset; --") == []


def _write_many(url: str) -> None:
    register = Register(url)
    for number in range(15):
        register.write(
            lambda c, n=number: upsert(c, t.alert, {"key": f"k{n}"}, {"title": "t", "sent_at": "x"})
        )


def test_processes_migrate_and_write_at_the_same_time(register: Register) -> None:
    url = register._url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(url,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert len(register.rows(sa.select(t.alert))) == 15


def test_a_register_is_used_on_both_sides_of_a_fork(register: Register) -> None:
    register.upgrade()
    context = multiprocessing.get_context("fork")
    child = context.Process(
        target=lambda: register.write(
            lambda c: upsert(c, t.alert, {"key": "child"}, {"title": "t", "sent_at": "x"})
        )
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert [row.key for row in register.rows(sa.select(t.alert))] == ["child"]


@pytest.mark.parametrize(
    "url", ["mysql://u:geheim@h/d", "nonsense", "sqlite://", "sqlite:///:memory:"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(RegisterError) as error:
        Register(url)
    assert "geheim" not in str(error.value)


def test_an_unreachable_register_is_named_without_its_password() -> None:
    register = Register("postgresql://u:geheim@127.0.0.1:1/d")
    with pytest.raises(RegisterError) as error:
        register.upgrade()
    assert "127.0.0.1" in str(error.value)
    assert "geheim" not in str(error.value) + repr(register)


def test_the_sqlite_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    Register(f"sqlite:///{tmp_path}/r.db").upgrade()
    assert (tmp_path / "r.db").stat().st_mode & 0o077 == 0
