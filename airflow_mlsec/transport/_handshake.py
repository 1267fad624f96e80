"""What a server does when TLS is started: its protocols, its suites, its certificate.

There is no login, and nothing is sent except what starts TLS. Sources: RFC 8446 and RFC 5246
(TLS), RFC 3207 (SMTP), PostgreSQL's frontend protocol (section 54.2.11), MySQL's connection
phase.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from airflow_mlsec.datasets import Endpoint, Start
from airflow_mlsec.errors import UsageError
from airflow_mlsec.transport._hello import OLD_SUITES, TLS_1_1, TLS_1_2, WEAK_SUITES, agreed

_ANY = "ALL:@SECLEVEL=0"
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME.
_NO_CHECK_TIME = 0x200000
_POSTGRESQL_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_MYSQL_SSL, _MYSQL_PROTOCOL_41, _MYSQL_SECURE = 0x800, 0x200, 0x8000
_MYSQL_LARGEST = 1 << 24
_LONGEST_GREETING = 4_096
# Limits of SMTP replies: RFC 5321, section 4.5.3.1.5, and more lines than a server has extensions.
_LONGEST_LINE, _MOST_LINES = 1_000, 200
# A probe may take this many times as long as a single answer.
_PATIENCE = 3
_TAKEN = "the server offers no TLS, or somebody in between removed the offer"


class Unreachable(Exception):
    """No server answers there."""


class Plaintext(Exception):
    """The server has no TLS, or does not offer it."""


@dataclass(frozen=True)
class Handshake:
    """What was found. ``protocol`` is the newest that both sides support."""

    protocol: str
    suite: str
    # A protocol older than 1.2 that the server accepts.
    older: str | None
    weak_suite: str | None
    chain_problem: str | None
    name_problem: str | None
    # When the server's certificate expires, UTC.
    not_after: datetime


def shake_hands(endpoint: Endpoint, timeout: float) -> Handshake:
    """Start TLS with a server, first as a client that verifies it, then as one that accepts anything.

    :raises Unreachable: if no server answers there.
    :raises Plaintext: if the server does not start TLS.
    :raises UsageError: if the connection's file of authorities cannot be read.
    """
    chain: str | None = None
    certificate: bytes | None = None
    protocol = suite = ""
    wrong_name = ill_timed = False
    try:
        protocol, suite, certificate = _begun(endpoint, timeout, _verifying(endpoint))
    except ssl.SSLCertVerificationError:
        # OpenSSL reports only the first problem, and some before it has verified a signature: everything
        # is verified again without the name, and then without the time.
        wrong_name = _chain_problem(endpoint, timeout, timed=True) is None
        if not wrong_name:
            chain = _chain_problem(endpoint, timeout, timed=False)
            ill_timed = chain is None
    except ssl.SSLError:
        chain = "not verified, because TLS 1.2 cannot be started"
    older = _agreed(endpoint, timeout, TLS_1_1, OLD_SUITES)
    if certificate is None:
        for lowest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1):
            with contextlib.suppress(ssl.SSLError):
                context = _careless(_ANY, lowest, ssl.TLSVersion.MAXIMUM_SUPPORTED)
                protocol, suite, certificate = _begun(endpoint, timeout, context)
                break
    if certificate is None:
        raise Plaintext("what answers there does not speak TLS")
    if not certificate:
        raise Plaintext("the server presents no certificate: anybody could pose as it")
    weak = _agreed(endpoint, timeout, TLS_1_2, WEAK_SUITES)
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        name_is_right = not wrong_name and _is_for(parsed, endpoint.host)
    except ValueError:
        raise Plaintext("the server's certificate cannot be read") from None
    now = datetime.now(UTC)
    begun = parsed.not_valid_before_utc <= now
    if ill_timed and begun and now <= parsed.not_valid_after_utc:
        chain = "an issuer's certificate has expired, or is not valid yet"
    return Handshake(
        protocol=protocol,
        suite=suite,
        older=older[0] if older else None,
        weak_suite=f"TLS_{WEAK_SUITES.get(weak[1], 'unknown')}" if weak else None,
        chain_problem=chain,
        name_problem=None if name_is_right else f"the certificate is not for {endpoint.host}",
        not_after=parsed.not_valid_after_utc if begun else now - timedelta(days=1),
    )


def days_left(handshake: Handshake, now: datetime | None = None) -> int:
    """Whole days until the certificate expires; negative if it has."""
    return (handshake.not_after - (now or datetime.now(UTC))).days


def _chain_problem(endpoint: Endpoint, timeout: float, *, timed: bool) -> str | None:
    """Why a client that verifies the chain of signatures, but not the name, refuses it."""
    context = _verifying(endpoint)
    context.check_hostname = False
    if not timed:
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    try:
        _begun(endpoint, timeout, context)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message or "not verified"
    except (ssl.SSLError, Unreachable, Plaintext):
        return "not verified: the server did not answer the same way twice"
    return None


def _verifying(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.authorities is not None and not Path(endpoint.authorities).is_file():
        raise UsageError(
            f"the connection's file of certificate authorities {endpoint.authorities} is not there"
        )
    try:
        return ssl.create_default_context(cafile=endpoint.authorities)
    except ssl.SSLError:
        raise UsageError(
            f"{endpoint.authorities} holds no certificates of authorities (PEM)"
        ) from None


def _careless(suites: str, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> ssl.SSLContext:
    """A context that accepts any certificate: only to inspect it, never to send anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        # The check is for the old versions.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    context.set_ciphers(suites)
    return context


def _agreed(
    endpoint: Endpoint, timeout: float, newest: int, suites: Iterable[int]
) -> tuple[str, int] | None:
    """Protocol and suite, if the server accepts any of these."""
    try:
        with _ready(endpoint, timeout) as plain:
            return agreed(plain, endpoint.host, newest, suites)
    except (OSError, Plaintext, ValueError, OverflowError):
        # Some servers close the connection instead of refusing.
        return None


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate names a host (RFC 9525, section 6): a wildcard stands for one label."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    wanted = host.rstrip(".").lower()
    _, _, above = wanted.partition(".")
    for name in names.get_values_for_type(x509.DNSName):
        said = name.rstrip(".").lower()
        if said == wanted or (said.startswith("*.") and "." in above and said[2:] == above):
            return True
    return False


def _begun(endpoint: Endpoint, timeout: float, context: ssl.SSLContext) -> tuple[str, str, bytes]:
    """Protocol, suite and certificate of a connection on which TLS was started."""
    try:
        with (
            _ready(endpoint, timeout) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host.rstrip(".")) as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
            suite = secure.cipher()
            return secure.version() or "", suite[0] if suite else "", certificate or b""
    except ssl.SSLError:
        raise
    except OSError as error:
        raise Unreachable(f"no connection ({error.strerror or type(error).__name__})") from None
    except (ValueError, OverflowError):
        raise Unreachable("its host or port is not valid on the internet") from None


@contextlib.contextmanager
def _ready(endpoint: Endpoint, timeout: float) -> Iterator[socket.socket]:
    """A connection on which TLS starts with the next byte. It is closed after a few times ``timeout``: a
    server that sends a byte now and then would otherwise block us forever."""
    with socket.create_connection((endpoint.host, endpoint.port), timeout) as plain:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A copy, because TLS takes over the original socket.
        watched = plain.dup()
        cut = threading.Timer(_PATIENCE * timeout, _shut, [watched])
        cut.daemon = True
        cut.start()
        try:
            if endpoint.start is Start.SMTP:
                _begin_smtp(plain)
            elif endpoint.start is Start.POSTGRESQL:
                plain.sendall(_POSTGRESQL_SSL_REQUEST)
                if plain.recv(1) != b"S":
                    raise Plaintext(_TAKEN)
            elif endpoint.start is Start.MYSQL:
                _begin_mysql(plain)
            yield plain
        finally:
            cut.cancel()
            _shut(watched)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _begin_smtp(plain: socket.socket) -> None:
    """Read the greeting, and ask for TLS if it is offered."""
    # Unbuffered: what follows the answer to STARTTLS belongs to TLS.
    with plain.makefile("rb", buffering=0) as answers:
        if _smtp_reply(answers)[0] != b"220":
            raise Plaintext("the server's answers are not those of SMTP")
        plain.sendall(b"EHLO localhost\r\n")
        code, said = _smtp_reply(answers)
        if code != b"250" or b"STARTTLS" not in (line.strip().upper() for line in said[1:]):
            raise Plaintext(_TAKEN)
        plain.sendall(b"STARTTLS\r\n")
        if _smtp_reply(answers)[0] != b"220":
            raise Plaintext(_TAKEN)


def _smtp_reply(answers: io.RawIOBase) -> tuple[bytes, list[bytes]]:
    """The code of a reply and its lines (RFC 5321, section 4.2)."""
    said: list[bytes] = []
    while len(said) < _MOST_LINES:
        line = answers.readline(_LONGEST_LINE)
        if not line.endswith(b"\n") or not line[:3].isdigit():
            break
        said.append(line[4:])
        if line[3:4] != b"-":
            return line[:3], said
    raise Plaintext("the server's answers are not those of SMTP")


def _begin_mysql(plain: socket.socket) -> None:
    """Read the server's greeting, and ask for TLS if it offers it."""
    header = _exactly(plain, 4)
    length = int.from_bytes(header[:3], "little")
    if length > _LONGEST_GREETING:
        raise Plaintext("the server's answers are not those of MySQL")
    greeting = _exactly(plain, length)
    try:
        end_of_version = greeting.index(0, 1)
        flags = int.from_bytes(greeting[end_of_version + 14 : end_of_version + 16], "little")
    except ValueError:
        flags = 0
    if greeting[:1] != b"\n" or not flags & _MYSQL_SSL:
        raise Plaintext(_TAKEN)
    asked = _MYSQL_SSL | _MYSQL_PROTOCOL_41 | _MYSQL_SECURE
    request = struct.pack("<IIB23x", asked, _MYSQL_LARGEST, 33)
    plain.sendall(len(request).to_bytes(3, "little") + b"\1" + request)


def _exactly(plain: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number:
        more = plain.recv(number - len(found))
        if not more:
            raise Plaintext("the server closed the connection before TLS started")
        found += more
    return found
