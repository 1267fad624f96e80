"""The TLS protection that a connection to PostgreSQL requires."""

from __future__ import annotations

from airflow_mlsec.datasets._endpoint import (
    Asked,
    ConnectionFacts,
    Endpoint,
    Local,
    Start,
    Unknown,
    host_of,
    text_of,
)


def endpoint_of(connection: ConnectionFacts) -> Endpoint:
    """libpq, section 34.19: ``sslmode``, whose default is ``prefer``."""
    if (connection.host or "").startswith("/"):
        raise Local
    if {"host", "hostaddr", "service"} & set(connection.extra):
        raise Unknown("its extra names another server than the connection does")
    mode = str(connection.extra.get("sslmode") or "prefer").lower()
    authorities = text_of(connection.extra, "sslrootcert")
    asked = {
        "disable": Asked.NEVER, "allow": Asked.OPTIONAL, "prefer": Asked.OPTIONAL,
        # If certificate authorities are given, it verifies as verify-ca does.
        "require": Asked.CHAIN_ONLY if authorities else Asked.UNVERIFIED,
        "verify-ca": Asked.CHAIN_ONLY, "verify-full": Asked.VERIFIED,
    }.get(mode)  # fmt: skip
    if asked is None:
        raise Unknown("extra `sslmode` is not a mode of libpq")
    return Endpoint(
        host_of(connection), connection.port or 5432, Start.POSTGRESQL, asked,
        "set extra `sslmode` to verify-full, and `sslrootcert` to the authority's file or `system`",
        None if authorities == "system" else authorities,
    )  # fmt: skip
