"""Where a URI's connection comes from: Airflow inside tasks, the environment elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import fsspec

from airflow_mlsec.errors import NoFilesystem, SettingError
from airflow_mlsec.extensions import entries_of

# Takes protocol and connection id; this package's own (`airflow_mlsec.hooks.filesystems`) imports Airflow.
_FILESYSTEMS = "airflow_mlsec.filesystems"
_ASKING = threading.Lock()

# From libpq, section 34.1.2: how the server is reached and authenticated. Not who logs in and where: the
# connection itself says that.
_LIBPQ = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "sslsni",
    "sslnegotiation", "sslcertmode", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "channel_binding", "require_auth", "gssencmode", "krbsrvname", "connect_timeout", "keepalives",
    "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
    "target_session_attrs", "application_name", "options",
)  # fmt: skip


class EnvironmentConnections:
    """Connections as Airflow reads them from ``AIRFLOW_CONN_…``: a URI, or JSON.

    Filesystems without a connection id use the client library's own default credentials; with one, Airflow's providers
    make them, so that a URI means the same at the command line as in a task.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def sql_url(self, conn_id: str) -> str:
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        text = self._environ.get(name)
        if not text:
            raise SettingError(
                f"connection '{conn_id}' is not defined; outside Airflow set {name} to its URI"
            )
        if text.lstrip().startswith("{"):
            return _url_of_json(text, name)
        try:
            parts = urlsplit(text)
        except ValueError:
            raise SettingError(f"{name} is not a URI; percent-encode special characters") from None
        given = dict(parse_qsl(parts.query))
        query = urlencode(
            {name: value for name, value in given.items() if not name.startswith("__")}
            | _libpq_options(_json_object(given.get("__extra__")))
        )
        scheme = "mysql" if _is_mysql(parts.scheme) else "postgresql"
        return urlunsplit((scheme, parts.netloc, parts.path, query, ""))

    def filesystem(self, protocol: str, conn_id: str | None) -> Any:
        if conn_id is not None:
            return _filesystem_of_airflow(protocol, conn_id)
        try:
            return fsspec.filesystem(protocol)
        except ImportError as error:  # it names the package to install
            raise SettingError(f"no filesystem for '{protocol}://': {error}") from None
        except ValueError:
            raise NoFilesystem(f"no filesystem for '{protocol}://'") from None


def _filesystem_of_airflow(protocol: str, conn_id: str) -> Any:
    # Airflow logs to what is the standard output when it first has something to say; that is for our answer. Several
    # threads may ask, and what one replaces another must not restore.
    with _ASKING, contextlib.redirect_stdout(sys.stderr):
        return entries_of(_FILESYSTEMS)["airflow"].load()(protocol, conn_id)


def _url_of_json(text: str, name: str) -> str:
    try:
        fields = json.loads(text)
    except ValueError:
        raise SettingError(f"{name} is neither a URI nor JSON") from None
    if not isinstance(fields, dict):
        raise SettingError(f"{name} is neither a URI nor JSON")
    extra = fields.get("extra")
    fields["extra"] = extra if isinstance(extra, dict) else _json_object(extra)
    return database_url("postgresql", fields)


def _is_mysql(kind: str) -> bool:
    return kind.lower().partition("+")[0] in ("mysql", "mariadb")


def database_url(driver: str, fields: Mapping[str, Any]) -> str:
    """The URL of a connection to PostgreSQL or MySQL from Airflow's fields, password and TLS settings included.

    :param driver: SQLAlchemy's, for PostgreSQL.
    """
    from sqlalchemy import URL

    if _is_mysql(str(fields.get("conn_type") or "")):
        return URL.create(
            "mysql",
            username=fields.get("login"),
            password=fields.get("password"),
            host=fields.get("host"),
            port=int(fields["port"]) if fields.get("port") else None,
            database=fields.get("schema"),
            query=_mysql_options(fields["extra"]),
        ).render_as_string(hide_password=False)
    options = _libpq_options(fields["extra"])
    # Where a connection has no host, its extra may have the folder of a socket.
    host = fields.get("host") or fields["extra"].get("host")
    if host and str(host).startswith("/"):
        # The folder of a socket cannot be a URL's host.
        host, options = None, {**options, "host": str(host)}
    return URL.create(
        driver,
        username=fields.get("login"),
        password=fields.get("password"),
        host=host,
        port=int(fields["port"]) if fields.get("port") else None,
        database=fields.get("schema"),
        query=options,
    ).render_as_string(hide_password=False)


def _libpq_options(extra: Mapping[str, Any]) -> dict[str, str]:
    """The options that a connection's extra sets for PostgreSQL's client, above all TLS."""
    given = {name: extra[name] for name in _LIBPQ if extra.get(name) is not None}
    return {name: str(value) for name, value in given.items()}


def _mysql_options(extra: Mapping[str, Any]) -> dict[str, str]:
    """The options that a connection's extra sets for MySQL's client, in the words of Airflow's provider."""
    found = {"unix_socket": extra.get("unix_socket"), "charset": extra.get("charset")}
    tls = extra.get("ssl")
    tls = _json_object(tls) if isinstance(tls, str) else tls
    if isinstance(tls, Mapping):
        found |= {f"ssl_{name}": tls[name] for name in ("ca", "cert", "key") if tls.get(name)}
    return {name: str(value) for name, value in found.items() if value}


def _json_object(text: Any) -> dict[str, Any]:
    """An extra that is written as JSON."""
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
