"""What an erasure does not reach by itself is told: old versions in a bucket, backups, tags."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import Plan, anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_artifact, open_dataset
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.lineage import record_release
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    get_request,
    locate,
    open_request,
    settle,
    verify_identity,
)
from tests.actors import who
from tests.crypto import services
from tests.subjects.shop import Shop

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")

PEOPLE = [f"p{i}@copies.example" for i in range(5)]
HER = PEOPLE[2]
URI = "s3://lake/people/all.parquet"
POLICY = f"""\
version: 1
dataset: {URI}
owner: o
subject: {{kind: person, key: email}}
columns:
  email: {{role: identifying, transform: {{method: drop}}}}
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with services.aws() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a store whose bucket ``lake`` keeps versions."""
    import s3fs

    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="lake")
    return client


def versioned(client: Any) -> None:
    client.put_bucket_versioning(Bucket="lake", VersioningConfiguration={"Status": "Enabled"})


def world(tmp_path: Path, register: Register, keys: KeyRing, **more: Any) -> tuple[Handler, int]:
    with open_dataset(URI).replacing(pa.schema([("email", pa.string())])) as staged:
        staged.write(pa.record_batch({"email": PEOPLE}))
    record_results(register, parse_policy(POLICY, "p"), open_dataset(URI), "source", [], None)
    handler = Handler(register, keys, who("dpo"), **more)
    request = open_request(
        register, keys, "gdpr", "erasure", Person("person", (HER,)), who("clerk"), Calendar()
    )
    verify_identity(register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(register, request.id, who("dpo"), named=["*"])
    return handler, request.id


def contents(client: Any) -> list[bytes]:
    listed = client.list_object_versions(Bucket="lake").get("Versions", ())
    return [
        client.get_object(Bucket="lake", Key=v["Key"], VersionId=v["VersionId"])["Body"].read()
        for v in listed
    ]


def people(raw: bytes) -> list[str]:
    found: list[str] = pq.read_table(io.BytesIO(raw)).column("email").to_pylist()
    return found


def steps(handler: Handler, number: int) -> dict[str, tuple[str, int | None, str]]:
    return {
        s.name: (s.status, s.rows, str(s.detail))
        for s in get_request(handler.register, number).steps
    }


OLD = "old versions of s3://lake/people/all.parquet"


def test_old_versions_are_listed_and_keep_the_request_open(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    versioned(bucket)
    handler, number = world(tmp_path, sqlite_register, keys)
    handler.erase(number)
    status, rows, detail = steps(handler, number)[OLD]
    assert (status, rows) == ("found", 1)
    assert "erase_old_versions" in detail
    with pytest.raises(CheckFailed, match="old versions of"):
        handler.close(number)
    settle(
        handler.register,
        number,
        OLD,
        "retained",
        "a rule of the bucket deletes them in 30 days",
        who("dpo"),
    )
    closed, _ = handler.close(number)
    said = json.loads(base64.b64decode(closed.receipt["payload"]))["predicate"]["steps"]  # type: ignore[index]
    by_name = {s["name"]: s for s in said}
    assert by_name[OLD]["status"] == "retained"
    assert by_name["backups, logs and replicas"]["status"] == "beyond reach"
    assert "replicas and backups of the bucket" in by_name["backups, logs and replicas"]["detail"]
    assert any(HER in people(raw) for raw in contents(bucket)), "that is what the receipt says"


def test_old_versions_go_where_the_settings_allow_it(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    versioned(bucket)
    handler, number = world(tmp_path, sqlite_register, keys, old_versions=True)
    bucket.put_object(Bucket="lake", Key="people/all.parquet.other", Body=HER.encode())
    bucket.put_object(Bucket="lake", Key="people/all.parquet.other", Body=b"not hers to delete")
    handler.erase(number)
    assert steps(handler, number)[OLD][0] == "erased"
    assert handler.close(number)[0].status == "closed"
    left = contents(bucket)
    assert sum(HER.encode() in raw for raw in left) == 1, (
        "another object's versions are not touched"
    )
    assert len(left) == 3


def test_versions_that_come_after_a_decision_open_it_again(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    versioned(bucket)
    handler, number = world(tmp_path, sqlite_register, keys)
    handler.erase(number)
    settle(handler.register, number, OLD, "retained", "a rule deletes them", who("dpo"))
    body = bucket.get_object(Bucket="lake", Key="people/all.parquet")["Body"].read()
    bucket.put_object(Bucket="lake", Key="people/all.parquet", Body=body)
    handler.verify(number)
    assert steps(handler, number)[OLD][:2] == ("found", 2)


def test_a_bucket_without_versions_has_none(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    handler, number = world(tmp_path, sqlite_register, keys)
    handler.erase(number)
    assert OLD not in steps(handler, number)
    assert handler.close(number)[0].status == "closed"
    assert not any(HER in people(raw) for raw in contents(bucket))


def test_a_store_that_cannot_be_asked_is_unknown(
    tmp_path: Path,
    sqlite_register: Register,
    keys: KeyRing,
    bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import s3fs

    handler, number = world(tmp_path, sqlite_register, keys)
    ask = s3fs.S3FileSystem.call_s3

    def denied(self: Any, method: str, *given: Any, **named: Any) -> Any:
        if method == "list_object_versions":
            raise PermissionError("AccessDenied")
        return ask(self, method, *given, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", denied)
    handler.erase(number)
    status, _, detail = steps(handler, number)[OLD]
    assert status == "unknown"
    assert "PermissionError" in detail


def test_tags_and_backups_are_told(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing
) -> None:
    shop = Shop(tmp_path / "shop", sqlite_register, keys)
    handler = shop.handler()
    her = Person("customer", (shop.people[7][1],))
    request = open_request(shop.register, keys, "gdpr", "erasure", her, who("clerk"), Calendar())
    verify_identity(shop.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(shop.register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    settle(shop.register, request.id, "model.onnx", "retained", "retrained on Monday", who("dpo"))
    handler.close(request.id)
    told = steps(handler, request.id)["backups, logs and replicas"]
    assert told[0] == "beyond reach"
    assert "snapshots and backups of the filesystem" in told[2]
    assert "tag (a keyed digest) on 1 lists of members" in told[2]
    assert pq.read_table(tmp_path / "shop" / "copy.parquet").num_rows == 39


@pytest.mark.parametrize(
    ("key", "uri"),
    [
        ("people/ts=2024-01-01 10%3A00/all.parquet", "people/ts%3D2024-01-01%2010%253A00/all.parquet"),
        ("people/a%20b.parquet", "people/a%2520b.parquet"),
        ("all.parquet", ""),
    ],
    ids=["a percent sign", "what looks quoted", "the whole bucket"],
)  # fmt: skip
def test_old_versions_of_every_name_are_seen(
    sqlite_register: Register, keys: KeyRing, bucket: Any, key: str, uri: str
) -> None:
    versioned(bucket)
    raw = io.BytesIO()
    pq.write_table(pa.table({"email": PEOPLE}), raw)
    bucket.put_object(Bucket="lake", Key=key, Body=raw.getvalue())
    place = f"s3://lake/{uri}"
    policy = parse_policy(POLICY.replace(URI, f'"{place}"'), "p")
    record_results(sqlite_register, policy, open_dataset(place), "source", [], None)
    handler = Handler(sqlite_register, keys, who("dpo"))
    request = open_request(
        sqlite_register, keys, "gdpr", "erasure", Person("person", (HER,)), who("clerk"), Calendar()
    )
    verify_identity(sqlite_register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(sqlite_register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    assert sum(HER in people(content) for content in contents(bucket)) == 1
    old = [name for name in steps(handler, request.id) if name.startswith("old versions of")]
    assert [steps(handler, request.id)[name][0] for name in old] == ["found"]
    with pytest.raises(CheckFailed, match="old versions of"):
        handler.close(request.id)


def test_an_object_and_a_folder_of_one_name_are_refused(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    """Of such a folder the object is read by nobody, and would keep everybody."""
    handler, number = world(tmp_path, sqlite_register, keys)
    raw = io.BytesIO()
    pq.write_table(pa.table({"email": PEOPLE[:1]}), raw)
    bucket.put_object(Bucket="lake", Key="people/all.parquet/part.parquet", Body=raw.getvalue())
    handler.erase(number)
    with pytest.raises(CheckFailed):
        handler.close(number)
    status, _, detail = steps(handler, number)[URI]
    assert status in ("unknown", "failed")
    assert "which of them is meant" in detail


def test_lists_of_members_may_be_kept_in_a_store(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, bucket: Any
) -> None:
    """Of a worker whose disk is gone, as its containers go."""
    del bucket
    raw, safe = tmp_path / "raw.parquet", tmp_path / "safe.parquet"
    pq.write_table(pa.table({"email": PEOPLE, "tag": ["x"] * len(PEOPLE)}), raw)
    text = POLICY.replace(URI, str(raw)).replace("columns:", "membership: keep\ncolumns:")
    policy = parse_policy(text + "  tag: {role: insensitive}\n", "p")
    source, target = open_dataset(str(raw)), open_dataset(str(safe))
    place, plan = (f"s3://lake/mlsec/{name}" for name in ("members/1.age", "plans/1.json"))
    record_results(sqlite_register, policy, source, "source", [], None)
    done = anonymize(
        policy, source, target, keys, membership_path=open_artifact(place), plan_path=open_artifact(plan)
    )  # fmt: skip
    record_release(sqlite_register, keys, policy, source, target, done.result("r"))
    assert Plan.load(open_artifact(plan), keys.verification_keys()) == done.plan
    reference = done.membership_reference()
    assert reference is not None
    assert reference.path == place

    def state(key: str) -> str:
        found = locate(sqlite_register, keys, "person", key, roots=("s3://lake/",))
        return next(f.status for f in found.findings if f.dataset.endswith("safe.parquet"))

    assert (state(HER), state("nobody@x.test")) == ("found", "none")
    # It is ours, and no file that nobody declared.
    scanned = locate(sqlite_register, keys, "person", HER, roots=("s3://lake/",)).findings
    assert [f.dataset for f in scanned if f.dataset.startswith("s3://lake/mlsec/members")] == []
    open_artifact(place).write_bytes(b"another")
    assert state(HER) == "failed"
    open_artifact(place).remove()
    assert state(HER) == "failed"
