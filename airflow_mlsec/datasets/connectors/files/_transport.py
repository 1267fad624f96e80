"""The TLS protection that a connection to an object store requires."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from airflow_mlsec.datasets._endpoint import (
    Asked,
    ConnectionFacts,
    Endpoint,
    Local,
    Start,
    Unknown,
    is_false,
    is_true,
    is_unverified,
    text_of,
)

# Airflow's connections to folders.
LOCAL = ("fs", "file", "path")
AMAZON = ("aws", "s3")
GOOGLE = ("google_cloud_platform",)


def endpoint_of(connection: ConnectionFacts) -> Endpoint:
    """:raises Local: for a folder."""
    if connection.conn_type in LOCAL:
        raise Local
    if connection.conn_type in GOOGLE:
        if "base_url" in connection.extra or connection.host:
            raise Unknown("it names another server than the service's own; check it by hand")
        return Endpoint("storage.googleapis.com", 443, Start.AT_ONCE, Asked.VERIFIED, "")
    return _amazon(connection)


def _amazon(connection: ConnectionFacts) -> Endpoint:
    """For the Amazon provider: AWS itself unless an ``endpoint_url``, of all services or of one, names another
    store."""
    extra = connection.extra
    urls = [*_endpoints(extra)] or [text_of(extra, "host") or "https://s3.amazonaws.com"]
    parts = [urlsplit(url) for url in urls]
    if not all(part.hostname for part in parts):
        raise Unknown("extra `endpoint_url` is not a URL")
    # The worst of them counts.
    worst = min(parts, key=lambda part: part.scheme == "https")
    secure = worst.scheme == "https"
    verify = extra.get("verify", True)
    asked = Asked.VERIFIED if secure else Asked.NEVER
    if secure and is_unverified(verify):
        asked = Asked.UNVERIFIED
    return Endpoint(
        str(worst.hostname), worst.port or (443 if secure else 80), Start.AT_ONCE, asked,
        "let extra `endpoint_url` begin with https:// and leave `verify` out",
        verify if isinstance(verify, str) and not (is_true(verify) or is_false(verify)) else None,
    )  # fmt: skip


def _endpoints(extra: object) -> Iterator[str]:
    """Every ``endpoint_url`` of an extra, however deep."""
    if isinstance(extra, Mapping):
        for name, value in extra.items():
            if str(name).lower() == "endpoint_url" and isinstance(value, str) and value:
                yield value
            yield from _endpoints(value)
    elif isinstance(extra, list):
        for value in extra:
            yield from _endpoints(value)
    elif isinstance(extra, str) and extra.lstrip().startswith("{"):
        # From a URI's query, where Airflow reads JSON.
        with contextlib.suppress(ValueError):
            yield from _endpoints(json.loads(extra))
