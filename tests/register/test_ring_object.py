"""A key ring in an object of a bucket: whoever changes it has read what is there, and nothing is left of what was."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_mlsec.crypto import KeyRing, KeyState
from airflow_mlsec.errors import (
    AnotherRing,
    ChangedMeanwhile,
    CryptoError,
    DatasetError,
    KeyNotFound,
    SettingError,
    UsageError,
)
from airflow_mlsec.key_ring import ObjectStore, bind_ring, open_key_ring, open_register
from airflow_mlsec.key_ring import _object_store as module
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from tests.conftest import ROOT
from tests.crypto import services

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")

ROOT_KEY = bytes(range(1, 33))
URI = "s3://keys/mlsec/ring.json"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with services.aws() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client that looks at the store beside us."""
    import s3fs

    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="keys")
    return client


def body(bucket: Any) -> bytes:
    return bytes(bucket.get_object(Bucket="keys", Key="mlsec/ring.json")["Body"].read())


def of_ring(bucket: Any, kind: str) -> list[Any]:
    """What a versioned bucket has of the ring's object."""
    found = bucket.list_object_versions(Bucket="keys").get(kind, ())
    return [one for one in found if one["Key"] == "mlsec/ring.json"]


def test_a_ring_is_made_and_opened_by_others(bucket: Any) -> None:
    with pytest.raises(KeyNotFound, match="mlsec keys init"):
        KeyRing.open(ObjectStore(URI), root=ROOT_KEY).entries()
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    key = ring.ensure("a")
    ring.rotate("a")
    again = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    assert (again.version("a", 1), again.current("a").version) == (key, 2)
    assert again.identity == ring.identity
    assert [e.action for e in again.events()] == ["created", "created"]
    assert again.folder is None
    assert again.where == URI
    assert key.secret not in body(bucket)


def test_it_has_no_root_key_beside_it(bucket: Any) -> None:
    with pytest.raises(UsageError, match="root_key, root_key_file or root_key_service"):
        KeyRing.create(ObjectStore(URI))
    assert not ObjectStore(URI).exists(), "nothing is left of a ring that could not be made"
    KeyRing.create(ObjectStore(URI), root=ROOT_KEY).ensure("a")
    with pytest.raises(CryptoError, match="another root key"):
        KeyRing.open(ObjectStore(URI), root=bytes(range(2, 34))).entries()


def test_a_key_service_keeps_the_root_key(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with services.transit() as server:
        server.keys["transit/k"] = os.urandom(32)
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("VAULT_TOKEN", services.TOKEN)
        key = KeyRing.create(ObjectStore(URI), service="vault-transit://transit/k").ensure("a")
        assert KeyRing.open(ObjectStore(URI)).current("a") == key
        assert (
            KeyRing.create(ObjectStore(URI), service="vault-transit://transit/k").current("a")
            == key
        )


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"format": "x"}', b'{"format": "airflow-mlsec/ring-object/1", "ring": "?"}',
             b'{"format": "airflow-mlsec/ring-object/1", "ring": "AAAA", "more": "AAAA"}'],
)  # fmt: skip
def test_what_is_no_ring_is_refused(bucket: Any, text: bytes) -> None:
    bucket.put_object(Bucket="keys", Key="mlsec/ring.json", Body=text)
    for attempt in (KeyRing.create, KeyRing.open):
        with pytest.raises(CryptoError):
            attempt(ObjectStore(URI), root=ROOT_KEY).entries()
    assert body(bucket) == text


def test_what_was_changed_by_hand_or_put_back_is_noticed(
    bucket: Any, sqlite_register: Register
) -> None:
    ring = bind_ring(sqlite_register, KeyRing.create(ObjectStore(URI), root=ROOT_KEY))
    ring.ensure("a")
    before = body(bucket)
    ring.rotate("a")
    said = json.loads(body(bucket))
    text = base64.b64decode(said["ring"]).replace(b'"version": 2', b'"version": 3')
    changed = {**said, "ring": base64.b64encode(text).decode()}
    bucket.put_object(Bucket="keys", Key="mlsec/ring.json", Body=json.dumps(changed).encode())
    with pytest.raises(CryptoError, match="changed outside this program"):
        KeyRing.open(ObjectStore(URI), root=ROOT_KEY).entries()
    bucket.put_object(Bucket="keys", Key="mlsec/ring.json", Body=before)
    older = bind_ring(sqlite_register, KeyRing.open(ObjectStore(URI), root=ROOT_KEY))
    with pytest.raises((AnotherRing, CryptoError)):
        older.rotate("a")


def test_a_change_is_made_again_where_others_were_faster(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    ring.ensure("a")
    others, put, times = KeyRing.open(ObjectStore(URI), root=ROOT_KEY), ObjectStore._put, [0]

    def late(self: ObjectStore, mine: Any, parts: dict[str, bytes]) -> None:
        times[0] += 1
        if times[0] == 1:
            monkeypatch.setattr(ObjectStore, "_put", put)
            others.rotate("a")
            monkeypatch.setattr(ObjectStore, "_put", late)
        put(self, mine, parts)

    monkeypatch.setattr(ObjectStore, "_put", late)
    assert ring.rotate("a").version == 3
    assert times[0] == 2
    assert [(e.name, e.version) for e in ring.entries()] == [("a", 1), ("a", 2), ("a", 3)]
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    times[0] = 0
    with pytest.raises(ChangedMeanwhile):
        ring.rotate("a")


def test_threads_that_share_a_ring_lose_no_key(bucket: Any) -> None:
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: ring.ensure(f"k{i}"), range(8)))
    assert sorted(e.name for e in ring.entries()) == sorted(f"k{i}" for i in range(8))
    assert [ring.current(f"k{i}") for i in range(8)] == made


def test_nothing_is_left_of_a_destroyed_key_in_a_versioned_bucket(bucket: Any) -> None:
    bucket.put_bucket_versioning(Bucket="keys", VersioningConfiguration={"Status": "Enabled"})
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    ring.ensure("a")
    secret = json.loads(base64.b64decode(json.loads(body(bucket))["ring"]))["keys"][0]
    wrapped = max((v for v in secret.values() if isinstance(v, str)), key=len).encode()

    def kept() -> list[bytes]:
        versions = of_ring(bucket, "Versions")
        return [
            base64.b64decode(json.loads(bucket.get_object(
                Bucket="keys", Key=v["Key"], VersionId=v["VersionId"])["Body"].read())["ring"])
            for v in versions
        ]  # fmt: skip

    assert any(wrapped in text for text in kept())
    ring.destroy("a", 1)
    assert ring.entries()[0].state is KeyState.DESTROYED
    assert len(kept()) == 1
    assert not any(wrapped in text for text in kept())


_WORK = """
import sys
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.key_ring import ObjectStore, bind_ring
from airflow_mlsec.register import Register
ring = bind_ring(Register(sys.argv[1]), KeyRing.create(ObjectStore("s3://keys/mlsec/ring.json"), root=bytes(range(1, 33))))
ring.ensure("shared")
for _ in range(3):
    ring.rotate("shared")
ring.ensure("own-" + sys.argv[2])
"""


@pytest.mark.parametrize("number", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_many_processes_lose_no_key(bucket: Any, sqlite_register: Register, number: int) -> None:
    url = sqlite_register._url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WORK, url, str(i)], stderr=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        for i in range(number)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * number, said
    ring = bind_ring(sqlite_register, KeyRing.open(ObjectStore(URI), root=ROOT_KEY))
    names = [entry.name for entry in ring.entries()]
    assert names.count("shared") == 1 + 3 * number
    assert sorted(n for n in names if n != "shared") == sorted(f"own-{i}" for i in range(number))
    versions = [entry.version for entry in ring.entries() if entry.name == "shared"]
    assert versions == list(range(1, 2 + 3 * number))
    # Each is the one whose fingerprint was recorded.
    assert all(ring.version("shared", version) for version in versions)


def settings(folder: Path, uri: str = URI, **more: str) -> Settings:
    given = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{folder.parent}/register.db",
        "AIRFLOW__MLSEC__KEY_RING": uri,
        "AIRFLOW__MLSEC__ROOT_KEY": base64.b64encode(ROOT_KEY).decode(),
        **more,
    }
    return Settings.load(environ=given)


def test_two_workers_that_share_no_folder_have_one_ring(bucket: Any, tmp_path: Path) -> None:
    one, two = (settings(tmp_path / name) for name in ("one", "two"))
    keys = open_key_ring(one, open_register(one))
    made = keys.ensure("pseudonym.customer")
    assert open_key_ring(two, open_register(two)).current("pseudonym.customer") == made
    # An object that went, or another bucket by mistake: no ring is made where the register knows of one.
    bucket.delete_object(Bucket="keys", Key="mlsec/ring.json")
    with pytest.raises(AnotherRing):
        open_key_ring(two, open_register(two))
    with pytest.raises(CryptoError, match="NoSuchBucket"):
        open_key_ring(settings(tmp_path / "one", "s3://elsewhere/ring.json")).entries()


def test_it_is_reached_by_an_airflow_connection(
    bucket: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.hooks.mlsec import AirflowConnections

    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    extra = {"region_name": "us-east-1", "endpoint_url": endpoint}
    fields = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KEYSTORE", json.dumps(fields))
    uri = "s3://keystore@keys/mlsec/ring.json"
    made = KeyRing.create(ObjectStore(uri, AirflowConnections()), root=ROOT_KEY).ensure("a")
    assert KeyRing.open(ObjectStore(uri, AirflowConnections()), root=ROOT_KEY).current("a") == made
    # Once Airflow's adapters are there, the settings alone reach it.
    assert open_key_ring(settings(tmp_path / "w", uri)).current("a") == made


@pytest.mark.parametrize("ignored", ["IfMatch", "IfNoneMatch"])
def test_a_store_that_heeds_no_conditions_is_refused(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, ignored: str
) -> None:
    import s3fs

    call = s3fs.S3FileSystem.call_s3

    def deaf(self: Any, method: str, **given: Any) -> Any:
        return call(self, method, **{name: v for name, v in given.items() if name != ignored})

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", deaf)
    for _ in range(2):
        with pytest.raises(SettingError, match="ignores conditions of a write"):
            KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    assert not ObjectStore(URI).exists()


def test_a_store_that_cannot_be_asked_gets_no_ring(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    call = s3fs.S3FileSystem.call_s3

    def busy(self: Any, method: str, **given: Any) -> Any:
        if "IfNoneMatch" in given:
            raise OSError(5, "slow down, canary")
        return call(self, method, **given)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", busy)
    with pytest.raises(CryptoError, match="cannot be written") as told:
        KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    assert "canary" not in str(told.value)
    assert not ObjectStore(URI).exists()


def test_who_has_no_root_key_leaves_the_ring_of_others_as_it_is(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    before = body(bucket)
    with pytest.raises(CryptoError, match="give it as its creator did"):
        KeyRing.create(ObjectStore(URI))
    with services.transit() as server:
        server.keys["transit/k"] = os.urandom(32)
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("VAULT_TOKEN", services.TOKEN)
        with pytest.raises(CryptoError, match="give it as its creator did"):
            KeyRing.create(ObjectStore(URI), service="vault-transit://transit/k")
    assert body(bucket) == before
    assert ring.ensure("a").version == 1


def test_what_a_cut_off_change_left_goes_with_the_next(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_bucket_versioning(Bucket="keys", VersioningConfiguration={"Status": "Enabled"})
    ring = KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    ring.ensure("a")

    def failing(*given: Any) -> int:
        raise DatasetError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(module, "erase_versions", failing)
        with pytest.raises(CryptoError, match="could not be removed"):
            ring.destroy("a", 1)
    # Nothing is left to be written, and still the old version goes.
    ring.destroy("a", 1)
    assert len(of_ring(bucket, "Versions")) == 1


def test_a_ring_that_was_removed_is_not_replaced(bucket: Any) -> None:
    bucket.put_bucket_versioning(Bucket="keys", VersioningConfiguration={"Status": "Enabled"})
    key = KeyRing.create(ObjectStore(URI), root=ROOT_KEY).ensure("a")
    bucket.delete_object(Bucket="keys", Key="mlsec/ring.json")
    with pytest.raises(CryptoError, match="restore the newest"):
        KeyRing.create(ObjectStore(URI), root=ROOT_KEY)
    [marker] = of_ring(bucket, "DeleteMarkers")
    bucket.delete_object(Bucket="keys", Key="mlsec/ring.json", VersionId=marker["VersionId"])
    assert KeyRing.open(ObjectStore(URI), root=ROOT_KEY).current("a") == key


def test_other_stores_are_refused(tmp_path: Path) -> None:
    for uri in ("gs://bucket/ring.json", "file:///ring", "register:x"):
        with pytest.raises(SettingError, match="key_ring"):
            settings(tmp_path, uri)


def test_a_ring_goes_from_a_folder_to_a_bucket(
    bucket: Any, mlsec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = KeyRing.create(tmp_path / "ring", root=ROOT_KEY)
    made = before.ensure("a")
    for name, value in {
        "AIRFLOW__MLSEC__KEY_RING": URI,
        "AIRFLOW__MLSEC__ROOT_KEY": base64.b64encode(ROOT_KEY).decode(),
    }.items():
        monkeypatch.setenv(name, value)
    names = ("AIRFLOW__MLSEC__KEY_RING", "AIRFLOW__MLSEC__ROOT_KEY", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID",
             "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")  # fmt: skip
    env = {name: os.environ[name] for name in names}
    done = mlsec("keys", "import", str(tmp_path / "ring"), env=env)
    assert done.returncode == 0, done.stderr
    listed = mlsec("keys", "list", "--json", env=env)
    assert [e["name"] for e in json.loads(listed.stdout)] == ["a"], listed.stderr
    assert KeyRing.open(ObjectStore(URI), root=ROOT_KEY).current("a") == made
