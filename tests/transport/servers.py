"""TLS servers of this machine: good ones, and ones with a fault each."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

Preface = Callable[[socket.socket], bool]


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and what it has signed."""

    folder: Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @classmethod
    def make(cls, folder: Path) -> Authority:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1)
            .not_valid_before(now - timedelta(days=900))
            .not_valid_after(now + timedelta(days=900))
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        made = cls(folder, certificate, key)
        made.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return made

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def intermediate(self, name: str, *, days: int) -> Authority:
        """An authority that this one has signed, for so many days."""
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(self.certificate.subject, subject, key.public_key(), 7)
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self.key, hashes.SHA256())
        )
        return Authority(self.folder, certificate, key)

    def under(self, name: str, intermediate: Authority) -> Path:
        """A certificate that an intermediate has signed, with that."""
        path = intermediate.issue(name)
        pem = intermediate.certificate.public_bytes(serialization.Encoding.PEM)
        path.write_bytes(path.read_bytes() + pem)
        return path

    def forged(self, name: str, intermediate: Authority) -> Path:
        """A certificate that this authority signs in the name of an intermediate."""
        return Authority(self.folder, intermediate.certificate, self.key).under(
            name, Authority(self.folder, intermediate.certificate, self.key)
        )

    def issue(self, name: str, *, days: int = 90, own: bool = False, begins: int = -400) -> Path:
        """A certificate with its key; ``own``: signed by itself."""
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        builder = (
            x509.CertificateBuilder(
                subject if own else self.certificate.subject, subject, key.public_key(), 2
            )
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=days, hours=1))
            .add_extension(x509.SubjectAlternativeName([alternative]), False)
        )
        certificate = builder.sign(key if own else self.key, hashes.SHA256())
        path = self.folder / f"{name}-{days}-{own}-{begins}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def old_context_of(certificate: Path, newest: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that agrees to TLS 1.0 and up to some version."""
    context = context_of(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None, preface: Preface = lambda plain: True) -> Iterator[int]:
    """A server on a port of this machine; without a context it hangs up after the preface."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    done = threading.Event()

    def handle(plain: socket.socket) -> None:
        plain.settimeout(5)
        with contextlib.suppress(OSError), plain:
            if preface(plain) and context is not None:
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

    def run() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                plain, _ = listener.accept()
                threading.Thread(target=handle, args=(plain,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        thread.join()
        listener.close()


def dated(certificate: Path, *ciphers: str) -> Preface:
    """A whole TLS 1.2 server with ciphers of tlslite's, which has some that OpenSSL has no more."""
    from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
    from tlslite.errors import BaseTLSException

    chain = X509CertChain()
    chain.parsePemList(certificate.read_text())
    key = parsePEMKey(certificate.read_text(), private=True)
    settings = HandshakeSettings()
    settings.cipherNames = list(ciphers)
    settings.minVersion = settings.maxVersion = (3, 3)

    def serve(plain: socket.socket) -> bool:
        with contextlib.suppress(BaseTLSException, OSError):
            connection = TLSConnection(plain)
            connection.handshakeServer(certChain=chain, privateKey=key, settings=settings)
            connection.close()
        return False

    return serve


def postgresql(plain: socket.socket) -> bool:
    assert plain.recv(8) == struct.pack(">ii", 8, 80877103)
    plain.sendall(b"S")
    return True


def postgresql_without(plain: socket.socket) -> bool:
    plain.recv(8)
    plain.sendall(b"N")
    return False


def mysql(plain: socket.socket, flags: int = 0x800 | 0x200 | 0x8000) -> bool:
    greeting = (
        b"\n8.4.0\0" + struct.pack("<I", 7) + b"12345678\0"
        + struct.pack("<HBHH", flags & 0xFFFF, 33, 2, 0) + b"\x15" + bytes(10) + b"123456789012\0"
    )  # fmt: skip
    plain.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
    if not flags & 0x800:
        return False
    request = plain.recv(36)
    assert len(request) == 36
    assert request[:4] == b"\x20\0\0\1"
    assert struct.unpack("<I", request[4:8])[0] & 0x800
    return True


def mysql_without(plain: socket.socket) -> bool:
    return mysql(plain, 0x200 | 0x8000)


def smtp(plain: socket.socket, offers: bool = True) -> bool:
    plain.sendall(b"220 mail.example ESMTP\r\n")
    file = plain.makefile("rb")
    while line := file.readline():
        verb = line.split()[0].upper()
        if verb == b"EHLO":
            plain.sendall(
                b"250-mail.example\r\n" + (b"250-STARTTLS\r\n" if offers else b"") + b"250 SIZE\r\n"
            )
        elif verb == b"STARTTLS" and offers:
            plain.sendall(b"220 go ahead\r\n")
            return True
        else:
            plain.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"502 no\r\n")
            if verb == b"QUIT":
                return False
    return False


def smtp_stripped(plain: socket.socket) -> bool:
    return smtp(plain, offers=False)
