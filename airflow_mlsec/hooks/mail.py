"""Sends mail through the SMTP server of an Airflow connection."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr

from airflow.sdk import BaseHook

from airflow_mlsec.errors import SettingError


def send_mail(
    conn_id: str,
    to: str | Sequence[str] | None,
    subject: str,
    body: str,
    headers: Mapping[str, str] | None = None,
    page: str | None = None,
) -> None:
    """Send one message; ``page`` is the same as HTML. The connection has host, port, login, password, and extras
    ``from_email``, ``to_email`` (if ``to`` is not given) and ``disable_tls``.

    :raises SettingError: if no server or no recipient is named.
    :raises OSError: if the server cannot be reached or refuses.
    """
    connection = BaseHook.get_connection(conn_id)
    extra = connection.extra_dejson
    to = to or extra.get("to_email") or []
    addresses = [to] if isinstance(to, str) else list(to)
    if not addresses or not connection.host:
        raise SettingError(f"connection '{conn_id}' needs a host, and `to` or extra `to_email`")
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = extra.get("from_email") or connection.login or "airflow@localhost"
    message["To"] = ", ".join(addresses)
    # Without these, servers add their own or take it for spam (RFC 5322, 3.6); and nobody's absence replies (RFC 3834).
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=_domain(message["From"]))
    message["Auto-Submitted"] = "auto-generated"
    for name, value in (headers or {}).items():
        message[name] = value
    message.set_content(body)
    if page is not None:
        message.add_alternative(page, subtype="html")
    with smtplib.SMTP(connection.host, connection.port or 25, timeout=30) as server:
        # Encrypted unless the connection disables TLS.
        if str(extra.get("disable_tls")).lower() not in ("true", "1", "yes"):
            server.starttls(context=ssl.create_default_context())
        if connection.login and connection.password:
            server.login(connection.login, connection.password)
        server.send_message(message)


def _domain(sender: str) -> str:
    """The sender's domain. The default would be this machine's name, after asking a name server for it."""
    return parseaddr(sender)[1].rpartition("@")[2] or "localhost"
