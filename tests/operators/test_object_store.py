"""Artifacts on an S3-compatible object store (moto's server), reached by an Airflow connection."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_mlsec.operators.artifacts import DecryptArtifactOperator, VerifyArtifactOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from tests.clinic import Clinic
from tests.crypto import services
from tests.damage import last_byte_changed

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")

Context = Callable[..., Any]
SECRET = "canary-secret-9d1c"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    # One for all tests: Airflow keeps the filesystem of a connection as long as a process lives.
    with services.aws() as endpoint:
        yield endpoint


@pytest.fixture
def store(clinic: Clinic, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client that looks at the store beside us; its bucket is ``lake``."""
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    extra = {"region_name": "eu-central-1", "endpoint_url": endpoint}
    fields = {"conn_type": "aws", "login": "key", "password": SECRET, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(fields))
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
        region_name="eu-central-1",
    )
    client.create_bucket(
        Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    return client


def names(store: Any) -> set[str]:
    return {entry["Key"] for entry in store.list_objects_v2(Bucket="lake").get("Contents", ())}


def read(store: Any, key: str) -> bytes:
    return bytes(store.get_object(Bucket="lake", Key=key)["Body"].read())


def encrypt(source: str, target: str, **more: Any) -> EncryptArtifactOperator:
    return EncryptArtifactOperator(
        task_id="e", source=f"s3://store@lake/{source}", target=f"s3://store@lake/{target}", **more
    )


def decrypt(source: str, target: str, **more: Any) -> DecryptArtifactOperator:
    return DecryptArtifactOperator(
        task_id="d", source=f"s3://store@lake/{source}", target=target, **more
    )


def test_a_large_model_goes_up_in_parts_and_comes_back(
    clinic: Clinic, context: Context, store: Any
) -> None:
    model = os.urandom(1 << 20) * 120
    store.put_object(Bucket="lake", Key="model.skops", Body=model)
    done = encrypt("model.skops", "model.age").execute(context())
    assert (done["bytes"], done["unchanged"]) == (len(model), False)
    assert names(store) == {"model.skops", "model.age", "model.age.sig.json"}
    assert encrypt("model.skops", "model.age").execute(context())["unchanged"] is True
    VerifyArtifactOperator(task_id="v", artifact="s3://store@lake/model.age").execute(context())
    decrypt("model.age", "s3://store@lake/back").execute(context())
    assert read(store, "back") == model
    assert not store.list_multipart_uploads(Bucket="lake").get("Uploads")


def test_a_folder_is_one_archive(clinic: Clinic, context: Context, store: Any) -> None:
    for key, body in (
        ("model/", b""),
        ("model/config.json", b"{}"),
        ("model/deep/weights.bin", b"w" * 200_000),
    ):
        store.put_object(Bucket="lake", Key=key, Body=body)
    encrypt("model", "model.tar.zst.age", compress=True).execute(context())
    assert encrypt("model", "model.tar.zst.age", compress=True).execute(context())["unchanged"]
    assert store.head_object(Bucket="lake", Key="model.tar.zst.age")["ContentLength"] < 10_000
    back = clinic.folder / "back"
    decrypt("model.tar.zst.age", str(back), folder=True).execute(context())
    found = {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*") if p.is_file()}
    assert found == {"config.json": b"{}", "deep/weights.bin": b"w" * 200_000}


def test_what_fails_leaves_the_object_as_it_was(
    clinic: Clinic, context: Context, store: Any
) -> None:
    store.put_object(Bucket="lake", Key="model.skops", Body=os.urandom(1 << 20) * 120)
    encrypt("model.skops", "model.age").execute(context())
    sealed = read(store, "model.age")
    store.put_object(Bucket="lake", Key="model.age", Body=last_byte_changed(sealed))
    store.put_object(Bucket="lake", Key="back", Body=b"as it was")
    for verify, reason in ((True, "model.age"), (False, "DecryptionFailed")):
        with pytest.raises(AirflowFailException, match=reason):
            decrypt("model.age", "s3://store@lake/back", verify=verify).execute(context())
    assert read(store, "back") == b"as it was"
    assert not store.list_multipart_uploads(Bucket="lake").get("Uploads")


def test_a_store_that_refuses_is_told_without_the_secret(
    clinic: Clinic, context: Context, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store.put_object(Bucket="lake", Key="model.skops", Body=b"weights")
    task = EncryptArtifactOperator(
        task_id="e", source="s3://store@lake/model.skops", target="s3://store@no-such-bucket/m.age"
    )
    with pytest.raises(AirflowException, match="no-such-bucket") as told:
        task.execute(context())
    with pytest.raises(AirflowException, match="no file at s3://store@lake/none"):
        encrypt("none", "none.age").execute(context())
    assert SECRET not in str(told.value) + caplog.text
    assert names(store) == {"model.skops"}
