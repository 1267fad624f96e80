"""The TLS that a connection requires, as its provider's hook reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_mlsec.datasets import (
    Asked,
    ConnectionFacts,
    Endpoint,
    Local,
    Start,
    Unknown,
    all_connectors,
    endpoint_of_postgresql,
    host_of,
    is_false,
    is_true,
    is_unverified,
    text_of,
)
from airflow_mlsec.transport._connections import facts_of_uri


def endpoint_of(connection: ConnectionFacts) -> Endpoint:
    """The server of a connection and what is required of it.

    :raises Local: if it has no server on the network.
    :raises Unknown: if its type is not known, or it names no server.
    """
    kind = connection.conn_type
    if kind in _SOCKETS and (connection.host or "").startswith("/"):
        raise Local
    rule = _RULES.get(kind) or next(
        (c.endpoint for c in all_connectors() if kind in c.connection_types), None
    )
    if rule is None:
        raise Unknown(f"connections of type '{kind}' are not known here; check them by hand")
    try:
        return rule(connection)
    except ValueError:
        raise Unknown("its host or endpoint is not a readable address") from None


def _register(connection: ConnectionFacts) -> Endpoint:
    """Our own connection type: a PostgreSQL database, or the URL in extra ``register_url``."""
    url = text_of(connection.extra, "register_url")
    if url is None:
        return endpoint_of_postgresql(connection)
    facts = facts_of_uri(connection.conn_id, url)
    if facts.conn_type.startswith("sqlite"):
        raise Local
    return endpoint_of_postgresql(facts)


def _mysql(connection: ConnectionFacts) -> Endpoint:
    extra = connection.extra
    mode = str(extra.get("ssl_mode") or "").upper()
    given = extra.get("ssl")
    ssl: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    authorities = text_of(extra, "ssl_ca") or text_of(ssl, "ca")
    by_mode = {
        "DISABLED": Asked.NEVER, "PREFERRED": Asked.OPTIONAL, "REQUIRED": Asked.UNVERIFIED,
        "VERIFY_CA": Asked.CHAIN_ONLY, "VERIFY_IDENTITY": Asked.VERIFIED,
    }  # fmt: skip
    # The provider's two clients read the same settings under different names.
    if extra.get("client") == "mysql-connector-python":
        if extra.get("ssl_disabled"):
            asked = Asked.NEVER
        elif text_of(extra, "ssl_ca") and is_true(extra.get("ssl_verify_identity")):
            asked = Asked.VERIFIED
        elif text_of(extra, "ssl_ca") and is_true(extra.get("ssl_verify_cert")):
            asked = Asked.CHAIN_ONLY
        else:
            asked = Asked.OPTIONAL
    elif mode:
        if mode not in by_mode:
            raise Unknown("extra `ssl_mode` is not a mode of MySQL")
        asked = by_mode[mode]
    elif ssl:
        asked = Asked.CHAIN_ONLY if text_of(ssl, "ca") else Asked.UNVERIFIED
    else:
        asked = Asked.OPTIONAL
    return Endpoint(
        host_of(connection), connection.port or 3306, Start.MYSQL, asked,
        "set extra `ssl_mode` to VERIFY_IDENTITY and `ssl_ca` to the authority's file", authorities,
    )  # fmt: skip


def _http(connection: ConnectionFacts) -> Endpoint:
    """HTTP provider: ``schema`` or a host that is a URL; ``verify`` as in requests."""
    host, scheme, port = host_of(connection), connection.schema, connection.port
    if "://" in host:
        parts = urlsplit(host)
        scheme, host, port = parts.scheme, parts.hostname or "", port or parts.port
    secure = (scheme or "http").lower() == "https"
    verify = connection.extra.get("verify", connection.extra.get("verify_ssl", True))
    asked = Asked.VERIFIED if secure else Asked.NEVER
    if secure and is_unverified(verify):
        asked = Asked.UNVERIFIED
    return Endpoint(
        host, port or (443 if secure else 80), Start.AT_ONCE, asked,
        "set the schema to https and leave extra `verify` out",
        verify if isinstance(verify, str) and not (is_true(verify) or is_false(verify)) else None,
    )  # fmt: skip


def _smtp(connection: ConnectionFacts) -> Endpoint:
    """SMTP provider: TLS at once unless ``disable_ssl``, then STARTTLS unless ``disable_tls``."""
    extra = connection.extra
    # The provider treats any value as true, even "false".
    at_once, later = not extra.get("disable_ssl"), not extra.get("disable_tls")
    asked = Asked.VERIFIED if at_once or later else Asked.NEVER
    if extra.get("ssl_context") == "none" and asked is Asked.VERIFIED:
        asked = Asked.UNVERIFIED
    return Endpoint(
        host_of(connection), connection.port or (465 if at_once else 587),
        Start.AT_ONCE if at_once else Start.SMTP, asked,
        "leave extras `disable_tls` and `ssl_context` out",
    )  # fmt: skip


def _redis(connection: ConnectionFacts) -> Endpoint:
    """Redis provider: ``ssl``, ``ssl_cert_reqs`` (default ``required``), ``ssl_check_hostname``."""
    extra = connection.extra
    asked = Asked.NEVER
    if is_true(extra.get("ssl")):
        asked = Asked.CHAIN_ONLY
        if str(extra.get("ssl_cert_reqs", "required")).lower() != "required":
            asked = Asked.UNVERIFIED
        elif is_true(extra.get("ssl_check_hostname")):
            asked = Asked.VERIFIED
    return Endpoint(
        host_of(connection), connection.port or 6379, Start.AT_ONCE, asked,
        "set extras `ssl` and `ssl_check_hostname` to true and leave `ssl_cert_reqs` out",
        text_of(extra, "ssl_ca_certs"),
    )  # fmt: skip


def _imap(connection: ConnectionFacts) -> Endpoint:
    """IMAP provider: ``use_ssl`` (default true) and ``ssl_context``."""
    extra = connection.extra
    asked = Asked.NEVER if is_unverified(extra.get("use_ssl", True)) else Asked.VERIFIED
    if extra.get("ssl_context") == "none" and asked is Asked.VERIFIED:
        asked = Asked.UNVERIFIED
    return Endpoint(
        host_of(connection), connection.port or 993, Start.AT_ONCE, asked,
        "leave extras `use_ssl` and `ssl_context` out",
    )  # fmt: skip


def _always(host: str) -> Callable[[ConnectionFacts], Endpoint]:
    """A service that is reached by HTTPS only."""

    def rule(connection: ConnectionFacts) -> Endpoint:
        if "base_url" in connection.extra or connection.host:
            raise Unknown("it names a server other than the service's own; check it by hand")
        return Endpoint(host, 443, Start.AT_ONCE, Asked.VERIFIED, "")

    return rule


# For these types the host may be the path of a socket.
_SOCKETS = ("mlsec", "mysql", "mariadb", "redis")
_RULES: dict[str, Callable[[ConnectionFacts], Endpoint]] = {
    "mlsec": _register,
    **dict.fromkeys(["mysql", "mariadb"], _mysql),
    **dict.fromkeys(["http", "https"], _http),
    **dict.fromkeys(["smtp", "email"], _smtp),
    **dict.fromkeys(["redis", "rediss"], _redis),
    "imap": _imap,
    "slack": _always("slack.com"),
    "slackwebhook": _always("hooks.slack.com"),
}  # fmt: skip
