"""Airflow's connections, without credentials: from the environment, or from a file that
``airflow connections export`` wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from airflow_mlsec.datasets import ConnectionFacts
from airflow_mlsec.errors import SettingError, UsageError

_PREFIX = "AIRFLOW_CONN_"


def facts_of_uri(conn_id: str, uri: str) -> ConnectionFacts:
    """A connection as Airflow reads it from a URI: ``http://https://host`` has a host with its own scheme,
    and values of the query are parsed as JSON where possible.

    :raises SettingError: if it is not a URI. The URI is not quoted: it may hold a password.
    """
    scheme, _, rest = uri.partition("://")
    within = rest.split("?", 1)[0]
    own, nested, _ = within.partition("://")
    try:
        parts = urlsplit(rest if nested else f"//{rest}")
        port, host = parts.port, parts.hostname
    except ValueError:
        host, port, parts = None, None, urlsplit("")
        scheme = ""
    if (
        not re.fullmatch(r"[A-Za-z][A-Za-z0-9+._-]*", scheme)
        or (nested and not own.isalpha())
        or "://" not in uri
    ):
        raise SettingError(
            f"connection '{conn_id}' is not a URI; percent-encode special characters in it"
        )
    query: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "__extra__" in query:
        extra: Any = _extra_of(query["__extra__"], conn_id)
    else:
        extra = {name: _value_of(text) for name, text in query.items()}
    host = unquote(host) if host else None
    return ConnectionFacts(
        conn_id=conn_id,
        conn_type=scheme.replace("-", "_"),
        host=f"{own}://{host}" if nested and host else host,
        port=port,
        schema=unquote(parts.path.lstrip("/")) or None,
        extra=extra,
    )


def facts_of_url(name: str, url: str) -> ConnectionFacts:
    """An HTTP address, such as that of an API.

    :raises SettingError: if it is not an HTTP address.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SettingError(f"'{name}' is not an address that begins with https:// or http://")
    shown = f"[{host}]" if ":" in host else host
    return ConnectionFacts(name, "http", f"{parts.scheme}://{shown}", port, None, {})


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def facts_of_fields(conn_id: str, fields: Mapping[str, Any]) -> ConnectionFacts:
    """A connection from its fields, as in Airflow's JSON.

    :raises SettingError: if they are not the fields of a connection.
    """
    try:
        port = int(fields["port"]) if fields.get("port") not in (None, "") else None
    except (ValueError, TypeError, OverflowError):
        raise SettingError(f"connection '{conn_id}' has a `port` that is not a number") from None
    extra = fields.get("extra") or {}
    return ConnectionFacts(
        conn_id=conn_id,
        conn_type=str(fields.get("conn_type") or "").replace("-", "_"),
        host=str(fields.get("host") or "") or None,
        port=port,
        schema=str(fields.get("schema") or "") or None,
        extra=extra if isinstance(extra, Mapping) else _extra_of(str(extra), conn_id),
    )


def environment_connections(environ: Mapping[str, str] | None = None) -> list[ConnectionFacts]:
    """The connections of ``AIRFLOW_CONN_…``, each a URI or JSON; by id, in lower case."""
    found = []
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(_PREFIX) and text:
            found.append(_facts_of_text(name.removeprefix(_PREFIX).lower(), text))
    return found


def exported_connections(path: Path) -> list[ConnectionFacts]:
    """The connections of a file from ``airflow connections export``: JSON, YAML, or ``ID=URI`` lines.

    :raises UsageError: if the file cannot be read or has none of these formats.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as text") from None
    try:
        if path.suffix in (".yaml", ".yml"):
            document = plain_yaml(text)
        elif path.suffix == ".json":
            document = json.loads(text)
        else:
            lines = [line.strip() for line in text.splitlines()]
            pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
            document = {conn_id: value for conn_id, _, value in pairs}
    except (ValueError, RecursionError, yaml.YAMLError):
        document = None
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{path} is not an export of connections; make one with: airflow connections export {path}"
        )
    return [
        facts_of_fields(str(conn_id), said)
        if isinstance(said, Mapping)
        else _facts_of_text(str(conn_id), str(said))
        for conn_id, said in document.items()
    ]


class _PlainLoader(yaml.SafeLoader):
    """Loads YAML without aliases: an export has none, and aliases could make it endless."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError
        return super().compose_node(parent, index)


def plain_yaml(text: str) -> Any:
    """The content of YAML without aliases.

    :raises yaml.YAMLError: if it is not YAML without aliases.
    """
    return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader


def _facts_of_text(conn_id: str, text: str) -> ConnectionFacts:
    if not text.lstrip().startswith("{"):
        return facts_of_uri(conn_id, text)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, Mapping):
        raise SettingError(f"connection '{conn_id}' is neither a URI nor JSON") from None
    return facts_of_fields(conn_id, fields)


def _extra_of(text: str, conn_id: str) -> Mapping[str, Any]:
    try:
        extra = json.loads(text)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, Mapping):
        raise SettingError(f"connection '{conn_id}' has an `extra` that is not a JSON object")
    return extra
