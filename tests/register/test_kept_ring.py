"""A key ring in the register: workers that share nothing but the database have one ring."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing, KeyState
from airflow_mlsec.errors import AnotherRing, CryptoError, KeyNotFound, SettingError, UsageError
from airflow_mlsec.key_ring import RegisterStore, bind_ring, open_key_ring, open_register
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from tests.conftest import ROOT
from tests.crypto import services

ROOT_KEY = bytes(range(1, 33))
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(register: Register) -> RegisterStore:
    return RegisterStore(register)


def test_a_ring_is_made_and_opened_by_others(store: RegisterStore) -> None:
    ring = KeyRing.create(store, root=ROOT_KEY)
    key = ring.ensure("a")
    ring.rotate("a")
    again = KeyRing.create(RegisterStore(store.register), root=ROOT_KEY)
    assert (again.version("a", 1), again.current("a").version) == (key, 2)
    assert again.identity == ring.identity
    assert [e.action for e in again.events()] == ["created", "created"]
    assert again.folder is None
    assert "register" in again.where


def test_it_has_no_root_key_beside_it(store: RegisterStore) -> None:
    with pytest.raises(KeyNotFound):
        KeyRing.open(store)
    with pytest.raises(UsageError, match="root_key, root_key_file or root_key_service"):
        KeyRing.create(store)
    assert not store.exists(), "nothing is left of a ring that could not be made"
    KeyRing.create(store, root=ROOT_KEY).ensure("a")
    with pytest.raises(CryptoError, match="another root key"):
        KeyRing.open(store, root=bytes(range(2, 34))).entries()


def test_a_key_service_keeps_the_root_key(
    store: RegisterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services.transit() as server:
        server.keys["transit/k"] = os.urandom(32)
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("VAULT_TOKEN", services.TOKEN)
        key = KeyRing.create(store, service="vault-transit://transit/k").ensure("a")
        assert KeyRing.open(RegisterStore(store.register)).current("a") == key
        server.keys["transit/other"] = os.urandom(32)
        KeyRing.open(store).move_root("vault-transit://transit/other")
        del server.keys["transit/k"]
        assert KeyRing.open(store).current("a") == key


def test_what_is_changed_by_hand_or_put_back_is_refused(store: RegisterStore) -> None:
    ring = KeyRing.create(store, root=ROOT_KEY)
    ring.ensure("a")
    before = store.read()
    ring.rotate("a")

    def put(content: bytes) -> None:
        values = {"document": content}
        store.register.write(lambda c: c.execute(sa.update(t.kept_ring).values(values)))

    now = store.read()
    put(now.replace(b'"version": 2', b'"version": 3'))
    with pytest.raises(CryptoError, match="changed outside this program"):
        ring.entries()
    put(before)
    with pytest.raises(CryptoError, match="older than what was here before"):
        ring.entries()
    put(b"{")
    with pytest.raises(CryptoError, match="damaged"):
        ring.entries()
    put(now)
    assert ring.current("a").version == 2


def test_a_key_and_its_fingerprint_are_kept_together_or_not_at_all(
    store: RegisterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = bind_ring(store.register, KeyRing.create(store, root=ROOT_KEY))
    ring.ensure("a")

    class Killed(Exception):
        pass

    def cut(*given: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KeyRing, "_held_to_record", cut)
        with pytest.raises(Killed):
            ring.rotate("a")
    assert ring.current("a").version == 1
    assert ring.rotate("a").version == 2

    def work(connection: sa.Connection) -> None:
        # Within a transaction of its own, which fails: nothing was made by it.
        assert ring.ensure("b").version == 1
        assert ring.current("b").version == 1
        raise Killed

    with pytest.raises(Killed):
        store.register.write(work)
    assert not ring.has("b")
    recorded = store.register.rows(sa.select(t.ring_key.c.name, t.ring_key.c.version))
    assert {tuple(row) for row in recorded} == {("a", 1), ("a", 2)}


def test_nothing_is_left_of_a_destroyed_secret(sqlite_register: Register) -> None:
    store = RegisterStore(sqlite_register)
    ring = KeyRing.create(store, root=ROOT_KEY)
    for i in range(20):
        ring.ensure(f"k{i}")
    [wrapped] = [e.wrapped for e in ring.entries() if e.name == "k7"]
    assert wrapped is not None

    def found() -> int:
        there = (path for path in sqlite_register.files() if path.exists())
        return sum(wrapped.encode() in path.read_bytes() for path in there)

    assert found()
    ring.destroy("k7", 1)
    assert ring.entries()[7].state is KeyState.DESTROYED
    assert not found()


_WORK = """
import sys
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.key_ring import RegisterStore, bind_ring
from airflow_mlsec.register import Register
register = Register(sys.argv[1])
ring = bind_ring(register, KeyRing.create(RegisterStore(register), root=bytes(range(1, 33))))
ring.ensure("shared")
for _ in range(3):
    ring.rotate("shared")
ring.ensure("own-" + sys.argv[2])
"""


@pytest.mark.parametrize("number", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_many_processes_lose_no_key(register: Register, number: int) -> None:
    url = register._url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WORK, url, str(i)], stderr=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for i in range(number)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * number, said
    ring = bind_ring(register, KeyRing.open(RegisterStore(register), root=ROOT_KEY))
    names = [entry.name for entry in ring.entries()]
    assert names.count("shared") == 1 + 3 * number
    assert sorted(n for n in names if n != "shared") == sorted(f"own-{i}" for i in range(number))
    versions = [entry.version for entry in ring.entries() if entry.name == "shared"]
    assert versions == list(range(1, 2 + 3 * number))
    # Each is the one whose fingerprint was recorded.
    assert all(ring.version("shared", version) for version in versions)


# --- by the settings


def settings(folder: Path, url: str, root: bytes = ROOT_KEY, **more: str) -> Settings:
    given = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__MLSEC__REGISTER_URL": url,
        "AIRFLOW__MLSEC__KEY_RING": "register:",
        "AIRFLOW__MLSEC__ROOT_KEY": base64.b64encode(root).decode(),
        **more,
    }
    return Settings.load(environ=given)


def test_two_workers_that_share_the_database_alone_have_one_ring(
    register: Register, tmp_path: Path
) -> None:
    url = register._url.render_as_string(hide_password=False)
    one, two = (settings(tmp_path / name, url) for name in ("one", "two"))
    key = open_key_ring(one).ensure("pseudonym.d")
    assert open_key_ring(two).current("pseudonym.d") == key
    assert open_register(two).trusted().ids() == open_register(one).trusted().ids()
    assert not (one.key_ring / "ring.json").exists()
    with pytest.raises((CryptoError, AnotherRing), match="another root key|knows ring"):
        open_key_ring(settings(tmp_path / "three", url, bytes(range(2, 34)))).entries()
    # A ring of one's own in a folder is another one.
    with pytest.raises(AnotherRing):
        open_key_ring(
            settings(tmp_path / "four", url, AIRFLOW__MLSEC__KEY_RING=str(tmp_path / "four" / "k")),
            register,
        )


@pytest.mark.parametrize("place", ["gs://bucket/ring", "register", "register:x"])
def test_where_no_ring_can_be_kept(tmp_path: Path, place: str) -> None:
    with pytest.raises(SettingError, match="a folder, `register:`"):
        settings(tmp_path, "sqlite:////x", AIRFLOW__MLSEC__KEY_RING=place)


def test_the_command_line_works_with_it(mlsec: Run, tmp_path: Path) -> None:
    env = {
        "AIRFLOW__MLSEC__KEY_RING": "register:",
        "AIRFLOW__MLSEC__ROOT_KEY": base64.b64encode(ROOT_KEY).decode(),
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path}/shared.db",
    }
    done = mlsec("keys", "init", env=env)
    assert done.returncode == 0, done.stderr
    assert "key ring in the register" in done.stdout
    assert mlsec("keys", "create", "a", env=env).returncode == 0
    other = {**env, "AIRFLOW_HOME": str(tmp_path / "other")}
    assert mlsec("keys", "rotate", "a", env=other).returncode == 0
    listed = json.loads(mlsec("keys", "list", "--json", env=env).stdout)
    assert [(e["name"], e["version"]) for e in listed if e["name"] == "a"] == [("a", 1), ("a", 2)]
    refused = mlsec("keys", "init", env={**env, "AIRFLOW__MLSEC__ROOT_KEY": "", "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path}/new.db"})  # fmt: skip
    assert refused.returncode == 2
    assert "root_key_service" in refused.stderr


def test_a_ring_in_a_folder_is_taken_to_the_register(mlsec: Run, tmp_path: Path) -> None:
    """With its keys, their history and the register's record of them."""
    env = {"AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path}/shared.db"}
    for command in (("init",), ("create", "a"), ("rotate", "a")):
        assert mlsec("keys", *command, env=env).returncode == 0
    folder = tmp_path / "airflow" / "mlsec" / "keys"
    folder = folder if folder.exists() else next(tmp_path.rglob("ring.json")).parent
    before = KeyRing.open(folder)
    now = {**env, "AIRFLOW__MLSEC__KEY_RING": "register:"}
    refused = mlsec("keys", "import", folder, env=now)
    assert refused.returncode == 2
    assert "root_key_service" in refused.stderr
    other = {**now, "AIRFLOW__MLSEC__ROOT_KEY": base64.b64encode(ROOT_KEY).decode()}
    refused = mlsec("keys", "import", folder, env=other)
    assert refused.returncode != 0
    assert "which of them is meant" in refused.stderr.replace("\n", " ")
    text = (folder / "root.key").read_text().split("\n")[1]
    mine = {**now, "AIRFLOW__MLSEC__ROOT_KEY": text}
    done = mlsec("keys", "import", folder, env=mine)
    assert done.returncode == 0, done.stderr
    assert mlsec("keys", "import", folder, env=mine).returncode == 2
    folder.rename(tmp_path / "away")
    listed = json.loads(mlsec("keys", "list", "--json", env=mine).stdout)
    assert [(e["name"], e["version"]) for e in listed if e["name"] == "a"] == [("a", 1), ("a", 2)]
    register = Register(env["AIRFLOW__MLSEC__REGISTER_URL"])
    ring = KeyRing.open(RegisterStore(register), root=base64.b64decode(text))
    assert ring.identity == before.identity
    assert mlsec("keys", "rotate", "a", env=mine).returncode == 0
    assert ring.current("a").version == 3
