"""Connections that stay open within a block, and nothing of them after it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.lineage import settle_intents
from airflow_mlsec.register import Register, _register
from airflow_mlsec.register import tables as t


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every connection that is opened."""
    found: list[int] = []
    real = _register._prepare_sqlite

    def prepare(connection: Any, record: Any) -> None:
        found.append(1)
        real(connection, record)

    monkeypatch.setattr(_register, "_prepare_sqlite", prepare)
    return found


def put(register: Register, uri: str) -> None:
    values = {"uri": uri, "writer": {}, "began_at": "2026"}
    register.write(lambda c: c.execute(sa.insert(t.writing).values(values)))


def uris(register: Register) -> list[str]:
    return [row.uri for row in register.rows(sa.select(t.writing).order_by(t.writing.c.uri))]


def test_within_a_block_one_connection_serves(sqlite_register: Register, opened: list[int]) -> None:
    uris(sqlite_register)
    before = len(opened)
    with sqlite_register.kept_open():
        for i in range(20):
            put(sqlite_register, f"{i:02}")
            assert len(uris(sqlite_register)) == i + 1
        with sqlite_register.kept_open():
            # Of one who reads within a write it is another.
            sqlite_register.write(lambda c: uris(sqlite_register))
        assert len(uris(sqlite_register)) == 20
    assert len(opened) - before == 2
    uris(sqlite_register)
    assert len(opened) - before == 3


def test_whoever_copies_the_file_after_the_block_has_all_of_it(
    sqlite_register: Register, tmp_path: Path
) -> None:
    with sqlite_register.kept_open():
        put(sqlite_register, "a")
    [file] = [path for path in sqlite_register.files()[:3] if path.exists()]
    shutil.copy(file, tmp_path / "copy.db")
    assert uris(Register(f"sqlite:///{tmp_path}/copy.db")) == ["a"]


def test_what_fails_is_undone_on_a_connection_that_is_used_again(sqlite_register: Register) -> None:
    with sqlite_register.kept_open():
        uris(sqlite_register)
        with pytest.raises(ZeroDivisionError):
            sqlite_register.write(lambda c: put(sqlite_register, "half") or 1 // 0)  # type: ignore[func-returns-value]
        assert uris(sqlite_register) == []
        put(sqlite_register, "whole")
        assert uris(sqlite_register) == ["whole"]
    assert uris(sqlite_register) == ["whole"]


def test_a_register_that_is_put_back_within_a_block_is_the_one_that_is_asked(
    sqlite_register: Register, tmp_path: Path
) -> None:
    put(sqlite_register, "yesterday")
    file = sqlite_register.files()[0]
    shutil.copy(file, tmp_path / "yesterday.db")
    put(sqlite_register, "today")
    with sqlite_register.kept_open():
        assert len(uris(sqlite_register)) == 2
        # Alone: what was written since stands in no log that would be read after it.
        os.replace(tmp_path / "yesterday.db", file)
        assert uris(sqlite_register) == ["yesterday"]
        put(sqlite_register, "tomorrow")
    assert uris(sqlite_register) == ["tomorrow", "yesterday"]


def test_a_child_process_opens_connections_of_its_own(sqlite_register: Register) -> None:
    with sqlite_register.kept_open():
        put(sqlite_register, "parent")
        child = os.fork()
        if child == 0:
            try:
                put(sqlite_register, "child")
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        put(sqlite_register, "parent again")
    assert uris(sqlite_register) == ["child", "parent", "parent again"]


def test_threads_share_the_block(sqlite_register: Register, opened: list[int]) -> None:
    uris(sqlite_register)
    before = len(opened)

    def work(number: int) -> None:
        with sqlite_register.kept_open():
            for i in range(10):
                put(sqlite_register, f"{number}/{i}")
                uris(sqlite_register)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    with sqlite_register.kept_open():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(uris(sqlite_register)) == 60
    assert len(opened) - before <= 7
    assert not any(path.exists() for path in sqlite_register.files()[1:3])


def test_a_copy_within_the_block_has_what_was_written(
    sqlite_register: Register, tmp_path: Path
) -> None:
    with sqlite_register.kept_open():
        put(sqlite_register, "a")
        uris(sqlite_register)
        put(sqlite_register, "b")
        shutil.copy(sqlite_register.files()[0], tmp_path / "copy.db")
    assert uris(Register(f"sqlite:///{tmp_path}/copy.db")) == ["a", "b"]


def test_what_was_not_read_to_its_end_shows_nobody_what_was_there_then(
    sqlite_register: Register,
) -> None:
    other = Register(sqlite_register._url.render_as_string(hide_password=False))
    for name in ("a", "b", "c"):
        put(sqlite_register, name)
    with sqlite_register.kept_open():
        half = sqlite_register.read(
            lambda c: c.execution_options(yield_per=1).execute(sa.select(t.writing))
        )
        put(other, "d")
        assert uris(sqlite_register) == ["a", "b", "c", "d"]
        put(sqlite_register, "e")
        assert uris(other) == ["a", "b", "c", "d", "e"]
        del half


def test_a_child_is_not_kept_waiting_by_a_thread_of_its_parent(sqlite_register: Register) -> None:
    uris(sqlite_register)
    with sqlite_register._lock:
        child = os.fork()
        if child == 0:
            try:
                with sqlite_register.kept_open():
                    put(sqlite_register, "child")
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert uris(sqlite_register) == ["child"]


def test_who_is_at_it_when_the_block_ends_leaves_nothing_open(sqlite_register: Register) -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        values = {"uri": "slow", "writer": {}, "began_at": "2026"}
        connection.execute(sa.insert(t.writing).values(values))
        begun.set()
        assert over.wait(20)

    with sqlite_register.kept_open():
        thread = threading.Thread(target=lambda: sqlite_register.write(slow))
        thread.start()
        assert begun.wait(20)
    over.set()
    thread.join()
    assert uris(sqlite_register) == ["slow"]
    assert not any(path.exists() for path in sqlite_register.files()[1:3])


def test_the_register_may_be_given_by_its_name(sqlite_register: Register) -> None:
    assert settle_intents(register=sqlite_register) == []
