"""What a connection asks of TLS, as its provider's hook reads it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any
from urllib.parse import urlsplit

from airflow_mlsec.transport._connections import ConnectionFacts, facts_of_uri


class Start(StrEnum):
    """How TLS begins on a connection."""

    AT_ONCE = "at once"
    SMTP = "STARTTLS"
    POSTGRESQL = "SSLRequest"
    MYSQL = "CLIENT_SSL"


class Asked(Enum):
    """What is asked of the server, from best to worst."""

    VERIFIED = "TLS, and its certificate and name are verified"
    CHAIN_ONLY = "TLS, and its certificate is verified, but not its name"
    UNVERIFIED = "TLS, but not verified: anybody in between can read along"
    OPTIONAL = "TLS only if the server offers it: whoever is in between can take that away"
    NEVER = "no TLS"


@dataclass(frozen=True)
class Endpoint:
    """A server, how TLS begins there, what the connection asks, and what would ask for more."""

    host: str
    port: int
    start: Start
    asked: Asked
    remedy: str
    # A file of certificate authorities that the connection names.
    authorities: str | None = None


class Local(Exception):
    """The connection does not leave the machine."""


class Unknown(Exception):
    """What a connection asks cannot be told."""


def endpoint_of(connection: ConnectionFacts) -> Endpoint:
    """The server of a connection and what is asked of it.

    :raises Local: if it has no server on the network.
    :raises Unknown: if its type is not known, or it names no server.
    """
    kind = connection.conn_type
    if kind in _LOCAL or (kind in _SOCKETS and (connection.host or "").startswith("/")):
        raise Local
    rule = _RULES.get(kind)
    if rule is None:
        raise Unknown(f"connections of type '{kind}' are not known here; check them by hand")
    try:
        return rule(connection)
    except ValueError:
        raise Unknown("its host or endpoint is no address that can be read") from None


def _host(connection: ConnectionFacts, default: str | None = None) -> str:
    host = connection.host or default
    if not host:
        raise Unknown("the connection names no host")
    return host


def _false(value: object) -> bool:
    return value is False or str(value).strip().lower() in ("false", "0", "no", "none", "off")


def _true(value: object) -> bool:
    return value is True or str(value).strip().lower() in ("true", "1", "yes", "on")


def _text(extra: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if isinstance(extra.get(name), str) and extra[name]:
            return str(extra[name])
    return None


def _postgresql(connection: ConnectionFacts) -> Endpoint:
    """libpq, section 34.19: ``sslmode``, whose default is ``prefer``."""
    if {"host", "hostaddr", "service"} & set(connection.extra):
        raise Unknown("its extra names another server than the connection does")
    mode = str(connection.extra.get("sslmode") or "prefer").lower()
    authorities = _text(connection.extra, "sslrootcert")
    asked = {
        "disable": Asked.NEVER, "allow": Asked.OPTIONAL, "prefer": Asked.OPTIONAL,
        # With authorities at hand it verifies as verify-ca does.
        "require": Asked.CHAIN_ONLY if authorities else Asked.UNVERIFIED,
        "verify-ca": Asked.CHAIN_ONLY, "verify-full": Asked.VERIFIED,
    }.get(mode)  # fmt: skip
    if asked is None:
        raise Unknown("extra `sslmode` is not a mode of libpq")
    return Endpoint(
        _host(connection), connection.port or 5432, Start.POSTGRESQL, asked,
        "set extra `sslmode` to verify-full, and `sslrootcert` to the authority's file or `system`",
        None if authorities == "system" else authorities,
    )  # fmt: skip


def _register(connection: ConnectionFacts) -> Endpoint:
    """Our own: a PostgreSQL database, or the URL in extra ``register_url``."""
    url = _text(connection.extra, "register_url")
    if url is None:
        return _postgresql(connection)
    facts = facts_of_uri(connection.conn_id, url)
    if facts.conn_type.startswith("sqlite"):
        raise Local
    return _postgresql(facts)


def _mysql(connection: ConnectionFacts) -> Endpoint:
    extra = connection.extra
    mode = str(extra.get("ssl_mode") or "").upper()
    given = extra.get("ssl")
    ssl: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    authorities = _text(extra, "ssl_ca") or _text(ssl, "ca")
    by_mode = {
        "DISABLED": Asked.NEVER, "PREFERRED": Asked.OPTIONAL, "REQUIRED": Asked.UNVERIFIED,
        "VERIFY_CA": Asked.CHAIN_ONLY, "VERIFY_IDENTITY": Asked.VERIFIED,
    }  # fmt: skip
    # The provider's two clients read other names of the same settings.
    if extra.get("client") == "mysql-connector-python":
        if extra.get("ssl_disabled"):
            asked = Asked.NEVER
        elif _text(extra, "ssl_ca") and _true(extra.get("ssl_verify_identity")):
            asked = Asked.VERIFIED
        elif _text(extra, "ssl_ca") and _true(extra.get("ssl_verify_cert")):
            asked = Asked.CHAIN_ONLY
        else:
            asked = Asked.OPTIONAL
    elif mode:
        if mode not in by_mode:
            raise Unknown("extra `ssl_mode` is not a mode of MySQL")
        asked = by_mode[mode]
    elif ssl:
        asked = Asked.CHAIN_ONLY if _text(ssl, "ca") else Asked.UNVERIFIED
    else:
        asked = Asked.OPTIONAL
    return Endpoint(
        _host(connection), connection.port or 3306, Start.MYSQL, asked,
        "set extra `ssl_mode` to VERIFY_IDENTITY and `ssl_ca` to the authority's file", authorities,
    )  # fmt: skip


def _http(connection: ConnectionFacts) -> Endpoint:
    """Of the HTTP provider: ``schema`` or a host that is a URL; ``verify`` as of requests."""
    host, scheme, port = _host(connection), connection.schema, connection.port
    if "://" in host:
        parts = urlsplit(host)
        scheme, host, port = parts.scheme, parts.hostname or "", port or parts.port
    secure = (scheme or "http").lower() == "https"
    verify = connection.extra.get("verify", connection.extra.get("verify_ssl", True))
    asked = Asked.VERIFIED if secure else Asked.NEVER
    if secure and _unverified(verify):
        asked = Asked.UNVERIFIED
    return Endpoint(
        host, port or (443 if secure else 80), Start.AT_ONCE, asked,
        "set the schema to https and leave extra `verify` out",
        verify if isinstance(verify, str) and not (_true(verify) or _false(verify)) else None,
    )  # fmt: skip


def _object_store(connection: ConnectionFacts) -> Endpoint:
    """Of the Amazon provider: AWS itself unless an ``endpoint_url``, of all services or of one, names another
    store."""
    extra = connection.extra
    urls = [*_endpoints(extra)] or [_text(extra, "host") or "https://s3.amazonaws.com"]
    parts = [urlsplit(url) for url in urls]
    if not all(part.hostname for part in parts):
        raise Unknown("extra `endpoint_url` is not a URL")
    # The worst of them tells.
    worst = min(parts, key=lambda part: part.scheme == "https")
    secure = worst.scheme == "https"
    verify = extra.get("verify", True)
    asked = Asked.VERIFIED if secure else Asked.NEVER
    if secure and _unverified(verify):
        asked = Asked.UNVERIFIED
    return Endpoint(
        str(worst.hostname), worst.port or (443 if secure else 80), Start.AT_ONCE, asked,
        "let extra `endpoint_url` begin with https:// and leave `verify` out",
        verify if isinstance(verify, str) and not (_true(verify) or _false(verify)) else None,
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
        # Of a URI's query, where Airflow reads JSON.
        with contextlib.suppress(ValueError):
            yield from _endpoints(json.loads(extra))


def _unverified(verify: object) -> bool:
    """requests and botocore do not verify for any value that is false."""
    return not verify or _false(verify)


def _smtp(connection: ConnectionFacts) -> Endpoint:
    """Of the SMTP provider: TLS at once unless ``disable_ssl``, then STARTTLS unless ``disable_tls``."""
    extra = connection.extra
    # The provider takes any value for true, "false" as well.
    at_once, later = not extra.get("disable_ssl"), not extra.get("disable_tls")
    asked = Asked.VERIFIED if at_once or later else Asked.NEVER
    if extra.get("ssl_context") == "none" and asked is Asked.VERIFIED:
        asked = Asked.UNVERIFIED
    return Endpoint(
        _host(connection), connection.port or (465 if at_once else 587),
        Start.AT_ONCE if at_once else Start.SMTP, asked,
        "leave extras `disable_tls` and `ssl_context` out",
    )  # fmt: skip


def _redis(connection: ConnectionFacts) -> Endpoint:
    """Of the Redis provider: ``ssl``, ``ssl_cert_reqs`` (default ``required``), ``ssl_check_hostname``."""
    extra = connection.extra
    asked = Asked.NEVER
    if _true(extra.get("ssl")):
        asked = Asked.CHAIN_ONLY
        if str(extra.get("ssl_cert_reqs", "required")).lower() != "required":
            asked = Asked.UNVERIFIED
        elif _true(extra.get("ssl_check_hostname")):
            asked = Asked.VERIFIED
    return Endpoint(
        _host(connection), connection.port or 6379, Start.AT_ONCE, asked,
        "set extras `ssl` and `ssl_check_hostname` to true and leave `ssl_cert_reqs` out",
        _text(extra, "ssl_ca_certs"),
    )  # fmt: skip


def _imap(connection: ConnectionFacts) -> Endpoint:
    """Of the IMAP provider: ``use_ssl`` (default true) and ``ssl_context``."""
    extra = connection.extra
    asked = Asked.NEVER if _unverified(extra.get("use_ssl", True)) else Asked.VERIFIED
    if extra.get("ssl_context") == "none" and asked is Asked.VERIFIED:
        asked = Asked.UNVERIFIED
    return Endpoint(
        _host(connection), connection.port or 993, Start.AT_ONCE, asked,
        "leave extras `use_ssl` and `ssl_context` out",
    )  # fmt: skip


def _always(host: str) -> Callable[[ConnectionFacts], Endpoint]:
    """A service that is reached by HTTPS only."""

    def rule(connection: ConnectionFacts) -> Endpoint:
        if "base_url" in connection.extra or connection.host:
            raise Unknown("it names another server than the service's own; check it by hand")
        return Endpoint(host, 443, Start.AT_ONCE, Asked.VERIFIED, "")

    return rule


# A host of these may be the path of a socket.
_SOCKETS = ("postgres", "postgresql", "mlsec", "mysql", "mariadb", "redis")
_LOCAL = ("fs", "sqlite", "file", "path")
_RULES: dict[str, Callable[[ConnectionFacts], Endpoint]] = {
    **dict.fromkeys(["postgres", "postgresql"], _postgresql),
    "mlsec": _register,
    **dict.fromkeys(["mysql", "mariadb"], _mysql),
    **dict.fromkeys(["http", "https"], _http),
    **dict.fromkeys(["aws", "s3"], _object_store),
    **dict.fromkeys(["smtp", "email"], _smtp),
    **dict.fromkeys(["redis", "rediss"], _redis),
    "imap": _imap,
    "google_cloud_platform": _always("storage.googleapis.com"),
    "slack": _always("slack.com"),
    "slackwebhook": _always("hooks.slack.com"),
}  # fmt: skip
