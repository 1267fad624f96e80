"""Artifacts on filesystems that are not the local disk."""

from __future__ import annotations

import io
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractBufferedFile

from airflow_mlsec.datasets import open_artifact
from airflow_mlsec.errors import DatasetError, DatasetNotFound, UnsupportedDataset


class ObjectFile(AbstractBufferedFile):
    """Uploads in parts; the object is there when the last is confirmed, as in S3."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.buffer.seek(0)
        self.parts.append(self.buffer.read())
        self.fs.uploaded += 1
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        self.fs.objects[self.path] = b"".join(self.parts)

    def discard(self) -> None:
        self.fs.discarded += 1
        self.parts = []


class ObjectStore(fsspec.AbstractFileSystem):
    protocol = "s3"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.objects: dict[str, bytes] = {}
        self.uploaded = self.discarded = 0
        self.broken = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if self.broken:
            raise PermissionError("canary-credential denied")
        if mode == "rb":
            if path not in self.objects:
                raise FileNotFoundError(path)
            return io.BytesIO(self.objects[path])
        return ObjectFile(
            self, path, mode, block_size=5 << 16, autocommit=options.get("autocommit", True)
        )

    def isfile(self, path: str) -> bool:
        if self.broken:
            raise PermissionError("canary-credential denied")
        return path in self.objects

    def isdir(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self.objects)


class Store:
    def __init__(self) -> None:
        self.store = ObjectStore()

    def sql_url(self, conn_id: str) -> str:
        raise NotImplementedError

    def filesystem(self, protocol: str, conn_id: str | None) -> Any:
        return self.store


def test_an_object_appears_when_all_of_it_is_there() -> None:
    connections = Store()
    artifact = open_artifact("s3://conn@bucket/models/m.age", connections)
    assert (artifact.file_name, artifact.uri) == ("m.age", "s3://conn@bucket/models/m.age")
    assert str(artifact.name) == "s3://bucket/models/m.age"
    assert not artifact.exists()
    with artifact.replacing() as file:
        for _ in range(20):
            file.write(b"x" * 100_000)
        assert connections.store.uploaded > 2
        assert not artifact.exists()
    assert artifact.read_bytes() == b"x" * 2_000_000
    with pytest.raises(RuntimeError), artifact.replacing() as file:
        file.write(b"y" * 1_000_000)
        raise RuntimeError
    del file
    assert artifact.read_bytes() == b"x" * 2_000_000
    assert connections.store.discarded == 1
    artifact.beside(".sig.json").write_bytes(b"{}")
    assert connections.store.objects["bucket/models/m.age.sig.json"] == b"{}"
    assert open_artifact("s3://bucket/models", connections).is_folder()


def test_errors_name_the_place_and_nothing_else() -> None:
    connections = Store()
    artifact = open_artifact("s3://bucket/m", connections)
    with pytest.raises(DatasetNotFound, match="no file at s3://bucket/m"):
        artifact.open()
    connections.store.broken = True
    for work in (artifact.exists, artifact.open, lambda: artifact.write_bytes(b"")):
        with pytest.raises(DatasetError, match="s3://bucket/m cannot be reached") as caught:
            work()
        assert "canary" not in str(caught.value)
    with pytest.raises(UnsupportedDataset, match="is a table"):
        open_artifact("sqlite:///x.db/t")
