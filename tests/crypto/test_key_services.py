"""Root keys and file keys that a key service keeps."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_mlsec.crypto import (
    HybridIdentity,
    Identity,
    KeyRing,
    ServiceKey,
    decrypt,
    encrypt,
    parse_recipient,
)
from airflow_mlsec.crypto.key_services import (
    KeyService,
    check_contract,
    gcp_kms,
    key_services,
    open_key_service,
    unwrap,
    wrap,
)
from airflow_mlsec.errors import (
    CheckFailed,
    CryptoError,
    DecryptionFailed,
    KeyNotFound,
    SettingError,
    UnsafePermissions,
    UsageError,
)
from tests.crypto import services

Run = Callable[..., Any]
GOOGLE = "projects/p/locations/global/keyRings/r/cryptoKeys/k"


@pytest.fixture(scope="module")
def aws_endpoint() -> Iterator[str]:
    with services.aws() as endpoint:
        yield endpoint


@pytest.fixture
def aws_key(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", services.TOKEN)
    import boto3

    client = boto3.client("kms", region_name="eu-central-1", endpoint_url=aws_endpoint)
    made = client.create_key()["KeyMetadata"]["KeyId"]
    return f"aws-kms://{made}?region=eu-central-1&endpoint={aws_endpoint}"


@pytest.fixture
def transit(monkeypatch: pytest.MonkeyPatch) -> Iterator[services.Transit]:
    with services.transit() as server:
        server.keys["transit/k"] = os.urandom(32)
        server.keys["transit/other"] = os.urandom(32)
        for prefix in ("VAULT", "BAO"):
            monkeypatch.setenv(f"{prefix}_ADDR", f"http://127.0.0.1:{server.server_address[1]}")
            monkeypatch.setenv(f"{prefix}_TOKEN", services.TOKEN)
        yield server


@pytest.fixture(params=["aws", "vault", "openbao", "google"])
def service(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "aws":
        yield open_key_service(request.getfixturevalue("aws_key"))
    elif request.param == "google":
        with services.google({GOOGLE: os.urandom(32)}) as client:
            yield gcp_kms.GoogleKms(GOOGLE, client)
    else:
        request.getfixturevalue("transit")
        yield open_key_service(f"{request.param}-transit://transit/k")


def test_what_is_wrapped_is_bound_to_its_purpose(service: Any) -> None:
    secret = os.urandom(32)
    sealed = wrap(service, secret, b"root")
    assert secret not in sealed
    assert wrap(service, secret, b"root") != sealed
    assert unwrap(service, sealed, b"root") == secret
    with pytest.raises(CryptoError, match="another purpose"):
        unwrap(service, sealed, b"file")
    for damaged in (b"", b"x", sealed[:-1], sealed[:-2] + b"zz", b"\xff" * 60):
        with pytest.raises(CryptoError) as caught:
            unwrap(service, damaged, b"root")
        assert services.TOKEN not in str(caught.value)


def test_every_service_keeps_the_contract(service: KeyService) -> None:
    check_contract(service)


def test_all_services_are_under_the_contract(request: pytest.FixtureRequest) -> None:
    """Those of this test's fixture are all that there are."""
    kinds = {"aws": "aws-kms", "google": "gcp-kms", "vault": "vault-transit", "openbao": "openbao-transit"}  # fmt: skip
    assert set(kinds.values()) == set(key_services())
    for scheme, cls in key_services().items():
        assert cls.address.startswith(f"{scheme}://")
        assert cls.__doc__


class _Broken(KeyService, abstract=True):
    """Does all that a service has to, but for what a test takes away."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    @classmethod
    def open(cls, rest: str) -> Any:
        return cls()

    def encrypt(self, plain: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(self._key).encrypt(nonce, plain, None)

    def decrypt(self, sealed: bytes) -> bytes:
        try:
            return AESGCM(self._key).decrypt(sealed[:12], sealed[12:], None)
        except (InvalidTag, ValueError):
            raise CryptoError("no") from None


def test_the_contract_notices_what_does_not_keep_it() -> None:
    check_contract(_Broken())
    broken: dict[str, tuple[Callable[..., bytes], Callable[..., bytes]]] = {
        "is in the result as plaintext": (lambda self, plain: plain, lambda self, sealed: sealed),
        "cut off": (
            lambda self, plain: bytes(x ^ 1 for x in plain),
            lambda self, sealed: bytes(x ^ 1 for x in sealed),
        ),
        "do not come back": (_Broken.encrypt, lambda self, sealed: b""),
    }
    for why, (encrypt_, decrypt_) in broken.items():
        cls = type("Broken", (_Broken,), {"encrypt": encrypt_, "decrypt": decrypt_}, abstract=True)
        with pytest.raises(CheckFailed, match=why):
            check_contract(cls())


@pytest.mark.parametrize(
    "forgotten", ["scheme", "product", "address", "open", "encrypt", "decrypt"]
)
def test_a_service_that_forgets_an_answer_is_none(forgotten: str) -> None:
    body: dict[str, Any] = {
        "scheme": "x-kms", "product": "X", "address": "x-kms://KEY",
        "open": classmethod(lambda cls, rest: cls()),
        "encrypt": lambda self, plain: plain, "decrypt": lambda self, sealed: sealed,
    }  # fmt: skip
    type("Whole", (KeyService,), dict(body))
    del body[forgotten]
    with pytest.raises(TypeError, match=forgotten):
        type("Half", (KeyService,), body)


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-key-service.md").read_text()


def test_a_service_from_another_package_opens_a_ring(tmp_path: Path) -> None:
    """One file and an entry point, as the page says."""

    def block(kind: str, number: int = 0) -> str:
        return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[number]

    (tmp_path / "their_keys.py").write_text(block("python"))
    [(group, points)] = tomllib.loads(block("toml"))["project"]["entry-points"].items()
    [(name, target)] = points.items()
    info = tmp_path / "their_keys-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-keys\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    key = tmp_path / "module"
    key.write_bytes(os.urandom(32))
    script = f"""
from pathlib import Path
from airflow_mlsec.crypto import KeyRing
{block("python", 1).replace("/run/module", str(key))}
ring = KeyRing.create(Path({str(tmp_path / "k")!r}), service="module-kms://{key}")
made = ring.ensure("a")
print(KeyRing.open(Path({str(tmp_path / "k")!r})).current("a") == made)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "PATH": ""},
    )  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr


def test_a_file_for_a_key_service(service: Any) -> None:
    breakglass = Identity.generate()
    key = ServiceKey("aws-kms://alias/x", service)
    sealed = io.BytesIO()
    encrypt(io.BytesIO(b"weights" * 50_000), sealed, [key, breakglass.recipient])
    opened = io.BytesIO()
    decrypt(
        io.BytesIO(sealed.getvalue()), opened, [ServiceKey("aws-kms://alias/x?region=eu", service)]
    )
    assert opened.getvalue() == b"weights" * 50_000
    # Others' clients skip the stanza.
    theirs = pyrage.x25519.Identity.from_str(breakglass.export())
    assert pyrage.decrypt(sealed.getvalue(), [theirs]) == b"weights" * 50_000
    with pytest.raises(DecryptionFailed):
        decrypt(
            io.BytesIO(sealed.getvalue()), io.BytesIO(), [ServiceKey("aws-kms://other", service)]
        )
    encrypt(io.BytesIO(b""), io.BytesIO(), [key, HybridIdentity.generate().recipient])


def test_a_ring_whose_root_key_a_service_keeps(tmp_path: Path, aws_key: str) -> None:
    ring = KeyRing.create(tmp_path / "k", service=aws_key)
    key = ring.ensure("a")
    assert not (tmp_path / "k" / "root.key").exists()
    assert KeyRing.create(tmp_path / "k", service=aws_key).current("a") == key
    assert KeyRing.open(tmp_path / "k").current("a") == key
    path = tmp_path / "k" / "root.kms"
    document = json.loads(path.read_text())
    path.chmod(0o666)
    with pytest.raises(UnsafePermissions):
        KeyRing.open(tmp_path / "k")
    path.chmod(0o600)
    for change in ({"wrapped": "AAAA"}, {"wrapped": "?"}, {"format": "x"}, {"service": "x://y"}):
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises((CryptoError, UsageError)):
            KeyRing.open(tmp_path / "k")
    path.write_text("{")
    with pytest.raises(CryptoError, match="damaged"):
        KeyRing.open(tmp_path / "k")


def test_a_root_key_moves_to_a_service(tmp_path: Path, transit: services.Transit) -> None:
    ring = KeyRing.create(tmp_path / "k")
    key = ring.ensure("a")
    with pytest.raises(KeyNotFound, match="no such key"):
        ring.move_root("vault-transit://transit/none")
    assert KeyRing.open(tmp_path / "k").current("a") == key
    with (tmp_path / "k" / "root.key").open("rb") as before:
        ring.move_root("vault-transit://transit/k")
        assert before.read().strip(b"\0") == b""
    assert sorted(p.name for p in (tmp_path / "k").iterdir() if p.name[0] != ".") == [
        "ring.json", "ring.newest", "root.kms",
    ]  # fmt: skip
    assert KeyRing.open(tmp_path / "k").current("a") == key
    # From one service to another as well.
    KeyRing.open(tmp_path / "k").move_root("openbao-transit://transit/other")
    assert KeyRing.open(tmp_path / "k").current("a") == key
    del transit.keys["transit/other"]
    with pytest.raises(KeyNotFound, match="OpenBao has no such key"):
        KeyRing.open(tmp_path / "k")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("aws-kms://", "is not a key service"),
        ("ftp://x", "'ftp' is not a key service"),
        ("aws-kms://k?color=red", "has no option 'color'"),
        ("gcp-kms://k", "projects/P/locations/L"),
        ("vault-transit://k", "vault-transit://mount/key"),
    ],
)
def test_what_is_no_key_service(uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_key_service(uri)
    assert parse_recipient("aws-kms://alias/x") == ServiceKey("aws-kms://alias/x")


def test_a_service_that_is_not_there_or_says_no(
    transit: services.Transit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "wrong")
    with pytest.raises(CryptoError, match=r"Vault did not do it \(Forbidden\)"):
        open_key_service("vault-transit://transit/k").encrypt(b"x")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    with pytest.raises(CryptoError, match="ConnectionError"):
        open_key_service("vault-transit://transit/k").encrypt(b"x")
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example:8200")
    with pytest.raises(SettingError, match="not https"):
        open_key_service("vault-transit://transit/k")
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(SettingError, match="needs VAULT_ADDR and VAULT_TOKEN"):
        open_key_service("vault-transit://transit/k")


def test_the_checksum_is_that_of_google() -> None:
    """RFC 3720, section B.4."""
    known = {
        bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"": 0,
    }  # fmt: skip
    assert {data: gcp_kms._crc32c(data) for data in known} == known


def test_the_commands(mlsec: Run, tmp_path: Path, aws_key: str, aws_endpoint: str) -> None:
    env = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": services.TOKEN,
        "AIRFLOW__MLSEC__ROOT_KEY_SERVICE": aws_key,
    }  # fmt: skip
    done = mlsec("keys", "init", env=env)
    assert done.returncode == 0, done.stderr
    assert "kept by a key service" in done.stdout
    (tmp_path / "m").write_bytes(b"model")
    done = mlsec("encrypt", tmp_path / "m", tmp_path / "m.age", "-r", aws_key, env=env)
    assert done.returncode == 0, done.stderr
    done = mlsec("decrypt", tmp_path / "m.age", tmp_path / "b", "--service", aws_key, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b").read_bytes() == b"model"
    assert mlsec("keys", "move-root", "aws-kms://none", env=env).returncode in (2, 3)
    done = mlsec("keys", "move-root", aws_key, env=env)
    assert done.returncode == 0, done.stderr
    assert aws_endpoint not in done.stdout
