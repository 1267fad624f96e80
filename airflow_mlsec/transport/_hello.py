"""Which protocol and suite a server accepts, tested with our own ClientHello: the machine's OpenSSL no longer
supports most of what no server should accept any more, and would never offer it.

Sources: RFC 5246, section 7.4.1 (the messages), RFC 8996 (TLS 1.0 and 1.1), RFC 7465, RFC 9155 and RFC 9325,
section 4 (what is weak), and IANA's registry of suites.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

_HANDSHAKE, _SERVER_HELLO = 22, 2
_PROTOCOLS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2"}
TLS_1_1, TLS_1_2 = 0x0302, 0x0303
# Without encryption or authentication, of export strength, or with RC4, DES, 3DES, RC2, IDEA or SEED.
WEAK_SUITES = {
    0x0001: "RSA_WITH_NULL_MD5",
    0x0002: "RSA_WITH_NULL_SHA",
    0x0003: "RSA_EXPORT_WITH_RC4_40_MD5",
    0x0004: "RSA_WITH_RC4_128_MD5",
    0x0005: "RSA_WITH_RC4_128_SHA",
    0x0006: "RSA_EXPORT_WITH_RC2_CBC_40_MD5",
    0x0007: "RSA_WITH_IDEA_CBC_SHA",
    0x0008: "RSA_EXPORT_WITH_DES40_CBC_SHA",
    0x0009: "RSA_WITH_DES_CBC_SHA",
    0x000A: "RSA_WITH_3DES_EDE_CBC_SHA",
    0x000B: "DH_DSS_EXPORT_WITH_DES40_CBC_SHA",
    0x000C: "DH_DSS_WITH_DES_CBC_SHA",
    0x000D: "DH_DSS_WITH_3DES_EDE_CBC_SHA",
    0x000E: "DH_RSA_EXPORT_WITH_DES40_CBC_SHA",
    0x000F: "DH_RSA_WITH_DES_CBC_SHA",
    0x0010: "DH_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0011: "DHE_DSS_EXPORT_WITH_DES40_CBC_SHA",
    0x0012: "DHE_DSS_WITH_DES_CBC_SHA",
    0x0013: "DHE_DSS_WITH_3DES_EDE_CBC_SHA",
    0x0014: "DHE_RSA_EXPORT_WITH_DES40_CBC_SHA",
    0x0015: "DHE_RSA_WITH_DES_CBC_SHA",
    0x0016: "DHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0017: "DH_anon_EXPORT_WITH_RC4_40_MD5",
    0x0018: "DH_anon_WITH_RC4_128_MD5",
    0x0019: "DH_anon_EXPORT_WITH_DES40_CBC_SHA",
    0x001A: "DH_anon_WITH_DES_CBC_SHA",
    0x001B: "DH_anon_WITH_3DES_EDE_CBC_SHA",
    0x0034: "DH_anon_WITH_AES_128_CBC_SHA",
    0x003A: "DH_anon_WITH_AES_256_CBC_SHA",
    0x003B: "RSA_WITH_NULL_SHA256",
    0x0046: "DH_anon_WITH_CAMELLIA_128_CBC_SHA",
    0x006C: "DH_anon_WITH_AES_128_CBC_SHA256",
    0x006D: "DH_anon_WITH_AES_256_CBC_SHA256",
    0x0089: "DH_anon_WITH_CAMELLIA_256_CBC_SHA",
    0x0096: "RSA_WITH_SEED_CBC_SHA",
    0x0097: "DH_DSS_WITH_SEED_CBC_SHA",
    0x0098: "DH_RSA_WITH_SEED_CBC_SHA",
    0x0099: "DHE_DSS_WITH_SEED_CBC_SHA",
    0x009A: "DHE_RSA_WITH_SEED_CBC_SHA",
    0x009B: "DH_anon_WITH_SEED_CBC_SHA",
    0x00A6: "DH_anon_WITH_AES_128_GCM_SHA256",
    0x00A7: "DH_anon_WITH_AES_256_GCM_SHA384",
    0x00BF: "DH_anon_WITH_CAMELLIA_128_CBC_SHA256",
    0x00C5: "DH_anon_WITH_CAMELLIA_256_CBC_SHA256",
    0xC001: "ECDH_ECDSA_WITH_NULL_SHA",
    0xC002: "ECDH_ECDSA_WITH_RC4_128_SHA",
    0xC003: "ECDH_ECDSA_WITH_3DES_EDE_CBC_SHA",
    0xC006: "ECDHE_ECDSA_WITH_NULL_SHA",
    0xC007: "ECDHE_ECDSA_WITH_RC4_128_SHA",
    0xC008: "ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
    0xC00B: "ECDH_RSA_WITH_NULL_SHA",
    0xC00C: "ECDH_RSA_WITH_RC4_128_SHA",
    0xC00D: "ECDH_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC010: "ECDHE_RSA_WITH_NULL_SHA",
    0xC011: "ECDHE_RSA_WITH_RC4_128_SHA",
    0xC012: "ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC015: "ECDH_anon_WITH_NULL_SHA",
    0xC016: "ECDH_anon_WITH_RC4_128_SHA",
    0xC017: "ECDH_anon_WITH_3DES_EDE_CBC_SHA",
    0xC018: "ECDH_anon_WITH_AES_128_CBC_SHA",
    0xC019: "ECDH_anon_WITH_AES_256_CBC_SHA",
}
# Suites that clients offered before TLS 1.2 (AES and Camellia with SHA-1), and the weak ones.
OLD_SUITES = (
    0xC00A, 0xC009, 0xC014, 0xC013, 0x0039, 0x0038, 0x0033, 0x0032, 0x0035, 0x002F, 0x0088, 0x0087, 0x0045,
    0x0044, 0x0084, 0x0041, 0xC005, 0xC004, 0xC00F, 0xC00E, *WEAK_SUITES,
)  # fmt: skip
# secp256r1, secp384r1, secp521r1, x25519, and finite fields of 2048 to 4096 bits (RFC 8422, RFC 7919).
_GROUPS = (23, 24, 25, 29, 256, 257, 258)
# ECDSA, RSA-PSS and RSA with SHA-256 to SHA-512, then those with SHA-1, and DSA.
_SIGNATURES = (
    0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0402, 0x0202,
)  # fmt: skip
_SIGNALLING_SUITE = 0x00FF  # of secure renegotiation, RFC 5746


def agreed(
    plain: socket.socket, host: str, newest: int, suites: Iterable[int]
) -> tuple[str, int] | None:
    """The protocol and the suite (its number) with which a server answers on a new connection; None if it
    accepts none of them.

    :raises OSError: if the connection fails.
    """
    offered = (*suites, _SIGNALLING_SUITE)
    plain.sendall(_client_hello(host, newest, offered))
    answer = _first_message(plain)
    # Type, length, version, 32 random bytes, the session's id, the suite.
    if len(answer) < 39 or answer[0] != _SERVER_HELLO:
        return None
    version = int.from_bytes(answer[4:6], "big")
    place = 39 + answer[38]
    suite = int.from_bytes(answer[place : place + 2], "big")
    if len(answer) < place + 2 or suite not in offered or version not in _PROTOCOLS:
        return None
    return _PROTOCOLS[version], suite


def _client_hello(host: str, newest: int, suites: Iterable[int]) -> bytes:
    extensions = [
        (10, _vector(_numbers(_GROUPS), 2)),
        (11, _vector(b"\0", 1)),
        (13, _vector(_numbers(_SIGNATURES), 2)),
    ]
    with suppress(UnicodeError):
        name = host.rstrip(".").encode("idna")
        if not host.replace(".", "").isdigit() and ":" not in host:
            extensions.append((0, _vector(b"\0" + _vector(name, 2), 2)))
    body = b"".join(
        (
            struct.pack(">H", newest),
            os.urandom(32),
            _vector(b"", 1),
            _vector(_numbers(suites), 2),
            _vector(b"\0", 1),
            _vector(b"".join(struct.pack(">H", kind) + _vector(data, 2) for kind, data in extensions), 2),
        )
    )  # fmt: skip
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", _HANDSHAKE, 0x0301, len(message)) + message


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(struct.pack(">H", value) for value in values)


def _vector(data: bytes, bytes_of_length: int) -> bytes:
    return len(data).to_bytes(bytes_of_length, "big") + data


def _first_message(plain: socket.socket) -> bytes:
    """The part of the first handshake message that says what was chosen; empty if there is none."""
    message = b""
    while len(message) < 4 or len(message) < min(4 + int.from_bytes(message[1:4], "big"), 128):
        head = _exactly(plain, 5)
        if len(head) < 5 or head[0] != _HANDSHAKE:
            return b""
        length = int.from_bytes(head[3:5], "big")
        part = _exactly(plain, length)
        if not length or len(part) < length:
            return b""
        message += part
    return message


def _exactly(plain: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number and (more := plain.recv(number - len(found))):
        found += more
    return found
