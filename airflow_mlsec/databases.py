"""What a database's errors mean: whether trying again may help, and what may be told.

A driver's message may quote a row, so only its type, the place and the SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html) are told.
"""

from __future__ import annotations

import re
import sqlite3

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

# Classes of SQLSTATE after which the same statement may succeed: connection, transaction rolled back, resources,
# intervention of an operator, system error; and a lock that was not available.
_PASSING = ("08", "40", "53", "57", "58")
LOCK_NOT_AVAILABLE = "55P03"
_SQLITE_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
# A server that refuses a connection gives no SQLSTATE to libpq's caller. In these words it refuses who asks, or what is
# asked for (src/backend/libpq/auth.c, utils/init/postinit.c). Any other refusal may pass, as may one in another language.
_REFUSES_WHO = (
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "role \"", "database \"",
    "is not permitted to log in", "certificate", "SSL required", "does not support SSL",
)  # fmt: skip
_PASSES = ("is not currently accepting connections", "too many connections", "starting up")


def may_pass(error: SQLAlchemyError) -> bool:
    """Whether the same statement may succeed later, without anybody changing a setting or the data."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return str(getattr(original, "sqlite_errorname", "")).startswith(_SQLITE_PASSING)
    state = getattr(original, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_PASSING) or state == LOCK_NOT_AVAILABLE
    if not isinstance(error, sa.exc.OperationalError):
        return False
    # Names of hosts and users are anybody's words.
    said = re.sub(r'"[^"]*"', '"', str(original))
    return any(text in said for text in _PASSES) or not any(text in said for text in _REFUSES_WHO)


def described(error: SQLAlchemyError, url: sa.URL) -> str:
    """What went wrong and where: the error's type, its code, host and port."""
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorname", None)
    if state := getattr(original, "sqlstate", None):
        code = f"SQLSTATE {state}"
    where = "" if url.get_backend_name() == "sqlite" else f" at {place_of(url)}"
    return f"{type(original or error).__name__}{f', {code}' if code else ''}{where}"


def place_of(url: sa.URL) -> str:
    """Host and port of a database server, or the folder of its socket."""
    host = url.host or url.query.get("host") or "the local socket"
    hosts = host if isinstance(host, str) else ",".join(host)
    default = 3306 if url.get_backend_name() == "mysql" else 5432
    port = url.port or url.query.get("port") or default
    return hosts if hosts.startswith("/") or not url.host else f"{hosts}:{port}"
