"""Old versions of objects: what a versioned bucket keeps of what was overwritten or removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connections import EnvironmentConnections
from airflow_mlsec.datasets._connector import OldVersion
from airflow_mlsec.datasets.connectors.files._location import file_uri
from airflow_mlsec.errors import DatasetError
from airflow_mlsec.naming import canonical_store


def old_versions(uri: str, connections: Connections | None = None) -> list[OldVersion]:
    """The old versions of an object, or of everything below a folder; none in a bucket without versions.

    :raises DatasetError: if the store cannot be queried, or is of a kind that this version cannot query.
    """
    filesystem, bucket, key = object_of(uri, connections)
    found: list[OldVersion] = []
    markers: dict[str, str] = {}
    while True:
        answer = _call(
            filesystem, uri, "list_object_versions", Bucket=bucket, Prefix=key, **markers
        )
        for version in answer.get("Versions") or ():
            mine = not key or version["Key"] == key or version["Key"].startswith(f"{key}/")
            if mine and not version["IsLatest"]:
                found.append(OldVersion(bucket, version["Key"], version["VersionId"]))
        if not answer.get("IsTruncated"):
            return found
        markers = {
            "KeyMarker": answer["NextKeyMarker"],
            "VersionIdMarker": answer["NextVersionIdMarker"],
        }


def erase_versions(
    uri: str, versions: Sequence[OldVersion], connections: Connections | None = None
) -> int:
    """Remove old versions permanently; returns how many there were.

    :raises DatasetError: if the store refuses.
    """
    filesystem, _, _ = object_of(uri, connections)
    for version in versions:
        named = {"Bucket": version.bucket, "Key": version.key, "VersionId": version.version}
        _call(filesystem, uri, "delete_object", **named)
    return len(versions)


def object_of(uri: str, connections: Connections | None = None) -> tuple[Any, str, str]:
    """The filesystem, bucket and key of a URI, for requests to S3 itself (``filesystem.call_s3``).

    :raises DatasetError: if it belongs to another store.
    """
    parsed = file_uri(uri)
    filesystem = (connections or EnvironmentConnections()).filesystem(
        parsed.protocol, parsed.conn_id
    )
    scheme = canonical_store(f"{parsed.protocol}://x").partition("://")[0]
    if scheme != "s3" or not hasattr(filesystem, "call_s3"):
        raise DatasetError(
            f"'{uri}': this version can ask only S3, and stores that speak its protocol, for versions and conditions, not "
            f"{scheme}://"
        )
    # The path is as the store has it: a key may begin with a slash, and have a percent sign.
    bucket, _, key = parsed.path.partition("/")
    return filesystem, bucket, key.removesuffix("/")


def _call(filesystem: Any, uri: str, method: str, **given: Any) -> Any:
    try:
        return filesystem.call_s3(method, **given)
    except Exception as error:  # from the store's client, which is not a dependency
        raise DatasetError(
            f"'{uri}': the store cannot be asked for old versions ({type(error).__name__})"
        ) from None
