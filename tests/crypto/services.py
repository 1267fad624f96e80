"""Key services of this machine: AWS KMS as moto serves it, and faithful servers of the transit engine's
HTTP API and of Google's gRPC API, for which there is none on PyPI."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "canary-token-2b7f"


@contextlib.contextmanager
def aws() -> Iterator[str]:
    """The endpoint of an AWS with no key and no object."""
    import httpx
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    # A filesystem of an earlier server would be taken for this one's.
    S3FileSystem.clear_instance_cache()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
        # Its state outlives its servers.
        httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
        yield endpoint
    finally:
        S3FileSystem.clear_instance_cache()
        server.stop()


class JsonHandler(BaseHTTPRequestHandler):
    """Answers in JSON, and says nothing of it."""

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


class Transit(ThreadingHTTPServer):
    """Vault's transit engine, as its API documentation has it: /v1/MOUNT/encrypt|decrypt/KEY."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TransitHandler)
        self.keys: dict[str, bytes] = {}
        self.asked: list[str] = []


class _TransitHandler(JsonHandler):
    server: Transit

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(self.path)
        if self.headers.get("X-Vault-Token") != TOKEN:
            return self._answer(403, {"errors": ["permission denied"]})
        _, version, mount, action, name = self.path.split("/")
        key = self.server.keys.get(f"{mount}/{name}")
        if version != "v1" or key is None:
            return self._answer(404, {"errors": []})
        if action == "encrypt":
            nonce = os.urandom(12)
            plain = base64.b64decode(body["plaintext"], validate=True)
            sealed = nonce + AESGCM(key).encrypt(nonce, plain, None)
            text = f"vault:v1:{base64.b64encode(sealed).decode()}"
            return self._answer(200, {"data": {"ciphertext": text, "key_version": 1}})
        try:
            prefix, _, text = body["ciphertext"].rpartition(":")
            sealed = base64.b64decode(text, validate=True)
            plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], None)
        except (InvalidTag, ValueError):
            return self._answer(400, {"errors": ["cipher: message authentication failed"]})
        if prefix != "vault:v1":
            return self._answer(400, {"errors": ["invalid ciphertext: no prefix"]})
        return self._answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})

    do_PUT = do_POST  # noqa: N815


@contextlib.contextmanager
def transit() -> Iterator[Transit]:
    with Transit() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def google(names: dict[str, bytes]) -> Iterator[Any]:
    """A client of Google's library, of a gRPC server that has these keys."""
    import grpc
    from google.cloud import kms
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport,
    )

    def crc(data: bytes) -> int:
        """CRC-32C by its table, as RFC 3720 has it."""
        value = 0xFFFFFFFF
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        return value ^ 0xFFFFFFFF

    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 * (entry & 1))
        table.append(entry)

    def key_of(request: Any, context: Any) -> bytes:
        if request.name not in names:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} {TOKEN}")
        return names[request.name]

    def encrypt(request: Any, context: Any) -> Any:
        key, nonce = key_of(request, context), os.urandom(12)
        if request.plaintext_crc32c != crc(request.plaintext):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "checksum")
        sealed = nonce + AESGCM(key).encrypt(nonce, request.plaintext, None)
        return kms.EncryptResponse(
            name=request.name, ciphertext=sealed, ciphertext_crc32c=crc(sealed),
            verified_plaintext_crc32c=True,
        )  # fmt: skip

    def decrypt(request: Any, context: Any) -> Any:
        key, sealed = key_of(request, context), request.ciphertext
        try:
            plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], None)
        except InvalidTag:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Decryption failed {TOKEN}")
        return kms.DecryptResponse(plaintext=plain, plaintext_crc32c=crc(plain))

    def handler(work: Any, asked: Any, answered: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            work,
            request_deserializer=asked.deserialize,
            response_serializer=answered.serialize,
        )

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "google.cloud.kms.v1.KeyManagementService",
                {
                    "Encrypt": handler(encrypt, kms.EncryptRequest, kms.EncryptResponse),
                    "Decrypt": handler(decrypt, kms.DecryptRequest, kms.DecryptResponse),
                },
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield kms.KeyManagementServiceClient(
            transport=KeyManagementServiceGrpcTransport(channel=channel)
        )
    finally:
        channel.close()
        server.stop(None)
