"""A whole Sigstore on this machine: a certificate authority with its certificate transparency log (Fulcio's API,
version 2) and a transparency log (Rekor's API, version 1) of one entry at a time. Their public counterparts cannot
be reached from tests.

Sources: RFC 6962 (certificate transparency), the signed note and checkpoint formats of transparency.dev, and the
OpenAPI definitions of Fulcio and Rekor.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.crypto.services import JsonHandler

ISSUER = "https://idp.example"
_PROVIDER_KEY = "the-provider-and-fulcio-share-this-one"
_PROMISES = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def token(identity: str, issuer: str = ISSUER, audience: str = "sigstore", lives: int = 300) -> str:
    """What the provider gives to somebody who has logged in."""
    now = int(time.time())
    claims = {"iss": issuer, "sub": identity, "aud": audience, "iat": now, "exp": now + lives}
    return jwt.encode(claims, _PROVIDER_KEY, algorithm="HS256")


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


class Sigstore(ThreadingHTTPServer):
    """The servers; ``trust_config`` is what a client needs to know of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority_key, self.certificate_log, self.log = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        now = datetime.now(UTC)
        self.authority = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.authority_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.authority_key.public_key()),
                critical=False,
            )
            .sign(self.authority_key, hashes.SHA256())
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def trust_config(self) -> dict[str, Any]:
        start = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            return {
                "baseUrl": self.url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64.b64encode(_der(key)).decode(),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": start},
                },
                "logId": {"keyId": base64.b64encode(_identifier(key)).decode()},
            }

        certificate = self.authority.public_bytes(serialization.Encoding.DER)
        service = [
            {
                "url": self.url,
                "majorApiVersion": 1,
                "validFor": {"start": start},
                "operator": "tests",
            }
        ]
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log)],
                "ctlogs": [log(self.certificate_log)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "tests", "commonName": "authority"},
                        "uri": self.url,
                        "certChain": {
                            "certificates": [{"rawBytes": base64.b64encode(certificate).decode()}]
                        },
                        "validFor": {"start": start},
                    }
                ],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": service,
                "oidcUrls": service,
                "rekorTlogUrls": service,
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def certificate(self, request: x509.CertificateSigningRequest, claims: Any) -> x509.Certificate:
        """A certificate for who logged in, with the promise of the certificate log in it."""
        now = datetime.now(UTC)
        issuer = claims["iss"].encode()
        kind = x509.RFC822Name if "@" in claims["sub"] else x509.UniformResourceIdentifier
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=5))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([kind(claims["sub"])]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(_ISSUER_2, b"\x0c" + bytes([len(issuer)]) + issuer),
                False,
            )
        )
        body = builder.sign(self.authority_key, hashes.SHA256()).tbs_certificate_bytes
        when = int(now.timestamp() * 1000)
        entry = (
            hashlib.sha256(_der(self.authority_key)).digest() + len(body).to_bytes(3, "big") + body
        )
        signature = _sign(
            self.certificate_log, struct.pack(">BBQH", 0, 0, when, 1) + entry + b"\0\0"
        )
        # Version 1, the log, when, no extensions, SHA-256 with ECDSA.
        promise = (
            b"\0" + _identifier(self.certificate_log) + struct.pack(">QH", when, 0)
            + b"\4\3" + len(signature).to_bytes(2, "big") + signature
        )  # fmt: skip
        promises = len(promise).to_bytes(2, "big") + promise
        listed = len(promises).to_bytes(2, "big") + promises
        octets = b"\4" + (
            bytes([len(listed)]) if len(listed) < 128 else b"\x81" + bytes([len(listed)])
        )
        return builder.add_extension(
            x509.UnrecognizedExtension(_PROMISES, octets + listed), critical=False
        ).sign(self.authority_key, hashes.SHA256())

    def logged(self, proposed: Any) -> dict[str, Any]:
        """The entry of a DSSE envelope in a log that has no other."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = base64.b64decode(envelope["payload"])
        entry = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _digest(content["envelope"].encode()),
                "payloadHash": _digest(payload),
                "signatures": [
                    {"signature": item["sig"], "verifier": content["verifiers"][0]}
                    for item in envelope["signatures"]
                ],
            },
        }
        body = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"tests - 1\n1\n{base64.b64encode(root).decode()}\n"
        signed = _identifier(self.log)[:4] + _sign(self.log, note.encode())
        promised = {
            "body": base64.b64encode(body).decode(),
            "integratedTime": int(time.time()),
            "logID": _identifier(self.log).hex(),
            "logIndex": 0,
        }
        canonical = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
        proof = {
            "checkpoint": f"{note}\n— tests {base64.b64encode(signed).decode()}\n",
            "hashes": [],
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
        }
        promise = base64.b64encode(_sign(self.log, canonical)).decode()
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {"1": {**promised, "verification": verification}}


def _usage(**uses: bool) -> x509.KeyUsage:
    every = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    return x509.KeyUsage(**{**every, **uses})


def _identifier(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _digest(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


class _Handler(JsonHandler):
    server: Sigstore

    def do_POST(self) -> None:  # noqa: N802
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v1/log/entries":
            return self._answer(201, self.server.logged(asked))
        assert self.path == "/api/v2/signingCert", self.path
        given = self.headers["Authorization"].removeprefix("Bearer ")
        try:
            claims = jwt.decode(given, _PROVIDER_KEY, algorithms=["HS256"], audience="sigstore")
        except jwt.InvalidTokenError:
            return self._answer(401, {"code": 16, "message": "There was an error with the token"})
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        chain = [
            certificate.public_bytes(serialization.Encoding.PEM).decode()
            for certificate in (self.server.certificate(request, claims), self.server.authority)
        ]
        return self._answer(
            200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}
        )


@contextlib.contextmanager
def serving() -> Iterator[Sigstore]:
    with Sigstore() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
