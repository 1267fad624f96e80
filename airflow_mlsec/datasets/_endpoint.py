"""The server that a connection leads to, and the TLS protection that it requires there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any


@dataclass(frozen=True)
class ConnectionFacts:
    """Where a connection leads, and what it says about TLS. Login and password are not kept; ``extra``
    may hold secrets, and is not shown."""

    conn_id: str
    conn_type: str
    host: str | None
    port: int | None
    schema: str | None = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)


class Start(StrEnum):
    """How TLS starts on a connection."""

    AT_ONCE = "at once"
    SMTP = "STARTTLS"
    POSTGRESQL = "SSLRequest"
    MYSQL = "CLIENT_SSL"


class Asked(Enum):
    """What is required of the server, from best to worst."""

    VERIFIED = "TLS, and its certificate and name are verified"
    CHAIN_ONLY = "TLS, and its certificate is verified, but not its name"
    UNVERIFIED = "TLS, but not verified: anyone in between can read the traffic"
    OPTIONAL = "TLS only if the server offers it: anyone in between can remove that offer"
    NEVER = "no TLS"


@dataclass(frozen=True)
class Endpoint:
    """A server, how TLS starts there, what the connection requires, and how to require more."""

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
    """It cannot be determined what a connection requires."""


def host_of(connection: ConnectionFacts, default: str | None = None) -> str:
    """:raises Unknown: if it names no host."""
    host = connection.host or default
    if not host:
        raise Unknown("the connection names no host")
    return host


def is_false(value: object) -> bool:
    """Whether a setting of an extra says no."""
    return value is False or str(value).strip().lower() in ("false", "0", "no", "none", "off")


def is_true(value: object) -> bool:
    """Whether a setting of an extra says yes."""
    return value is True or str(value).strip().lower() in ("true", "1", "yes", "on")


def text_of(extra: Mapping[str, Any], *names: str) -> str | None:
    """The first of some settings of an extra that is a text."""
    for name in names:
        if isinstance(extra.get(name), str) and extra[name]:
            return str(extra[name])
    return None


def is_unverified(verify: object) -> bool:
    """requests and botocore do not verify if the value is falsy."""
    return not verify or is_false(verify)
