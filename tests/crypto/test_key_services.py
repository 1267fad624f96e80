"""Root keys and file keys that a key service keeps."""

from __future__ import annotations

import hashlib
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
    KeyKind,
    KeyRing,
    RingKeys,
    ServiceKey,
    decrypt,
    encrypt,
    identity_of,
    parse_recipient,
)
from airflow_mlsec.crypto._header import Stanza
from airflow_mlsec.crypto.key_services import (
    KeyService,
    check_contract,
    gcp_kms,
    key_services,
    open_key_service,
    unwrap,
    wrap,
)
from airflow_mlsec.crypto.key_services.aws_kms import AwsKms
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

    def key_id(self) -> str:
        return "key"

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
    names = iter("abcdefgh")
    for why, forgotten in (
        ("no name of its own", {"key_id": lambda self: ""}),
        ("another one each time", {"key_id": lambda self: next(names)}),
        ("not found by its own name", {"earlier": lambda self, key_id: None}),
        ("another key is taken for this one", {"earlier": lambda self, key_id: self}),
    ):
        with pytest.raises(CheckFailed, match=why):
            check_contract(type("Broken", (_Broken,), forgotten, abstract=True)())
    for why, (encrypt_, decrypt_) in broken.items():
        cls = type("Broken", (_Broken,), {"encrypt": encrypt_, "decrypt": decrypt_}, abstract=True)
        with pytest.raises(CheckFailed, match=why):
            check_contract(cls())


@pytest.mark.parametrize(
    "forgotten", ["scheme", "product", "address", "open", "key_id", "encrypt", "decrypt"]
)
def test_a_service_that_forgets_an_answer_is_none(forgotten: str) -> None:
    body: dict[str, Any] = {
        "scheme": "x-kms", "product": "X", "address": "x-kms://KEY",
        "open": classmethod(lambda cls, rest: cls()), "key_id": lambda self: "key",
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
    key = ServiceKey(f"{service.scheme}://x", service)
    sealed = io.BytesIO()
    encrypt(io.BytesIO(b"weights" * 50_000), sealed, [key, breakglass.recipient])
    opened = io.BytesIO()
    # However its URI spells it.
    decrypt(io.BytesIO(sealed.getvalue()), opened, [ServiceKey(f"{service.scheme}://y?r=eu", service)])  # fmt: skip
    assert opened.getvalue() == b"weights" * 50_000
    # Others' clients skip the stanza.
    theirs = pyrage.x25519.Identity.from_str(breakglass.export())
    assert pyrage.decrypt(sealed.getvalue(), [theirs]) == b"weights" * 50_000
    with pytest.raises(DecryptionFailed):
        decrypt(io.BytesIO(sealed.getvalue()), io.BytesIO(), [ServiceKey("other-kms://x", service)])
    encrypt(io.BytesIO(b""), io.BytesIO(), [key, HybridIdentity.generate().recipient])


def opens(sealed: bytes, *identities: Any) -> bool:
    opened = io.BytesIO()
    try:
        decrypt(io.BytesIO(sealed), opened, identities)
    except DecryptionFailed:
        return False
    return opened.getvalue() == b"weights"


def test_an_alias_that_is_pointed_to_another_key(
    tmp_path: Path, aws_key: str, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was encrypted under it before is opened by it still, and by every spelling of the key's own name; what was
    encrypted in another account, or under another key that is named itself, is not asked for."""
    import boto3

    client = boto3.client("kms", region_name="eu-central-1", endpoint_url=aws_endpoint)
    rest = f"?region=eu-central-1&endpoint={aws_endpoint}"
    old, new = (client.create_key()["KeyMetadata"] for _ in range(2))
    client.create_alias(AliasName="alias/models", TargetKeyId=old["KeyId"])
    alias = ServiceKey(f"aws-kms://alias/models{rest}")
    stream = io.BytesIO()
    encrypt(io.BytesIO(b"weights"), stream, [alias])
    sealed = stream.getvalue()
    assert old["Arn"].encode() in sealed
    ring = KeyRing.create(tmp_path / "k", service=f"aws-kms://alias/models{rest}")
    ring.ensure("a")
    by_alias_arn = f"{old['Arn'].rpartition(':')[0]}:alias/models"
    spelled = [old["KeyId"], old["Arn"], "alias/models", by_alias_arn]
    assert all(opens(sealed, ServiceKey(f"aws-kms://{key}{rest}")) for key in spelled)
    client.update_alias(AliasName="alias/models", TargetKeyId=new["KeyId"])
    asked: list[str] = []
    decrypt_ = AwsKms.decrypt

    def noted(self: AwsKms, sealed: bytes) -> bytes:
        asked.append(self._key)
        return decrypt_(self, sealed)

    monkeypatch.setattr(AwsKms, "decrypt", noted)
    assert all(opens(sealed, ServiceKey(f"aws-kms://{key}{rest}")) for key in spelled)
    assert asked == [old["KeyId"], old["Arn"], old["Arn"], old["Arn"]]
    assert KeyRing.open(tmp_path / "k").current("a")
    asked.clear()
    # Two keys that are named themselves are two keys.
    assert not opens(sealed, ServiceKey(f"aws-kms://{new['Arn']}{rest}"))
    assert not opens(sealed, ServiceKey(f"aws-kms://{new['KeyId']}{rest}"))
    for elsewhere in (":999999999999:", ":eu-west-1:"):
        mine = old["Arn"].split(":")[4 if len(elsewhere) > 12 else 3]
        assert AwsKms.open(f"alias/models{rest}").earlier(old["Arn"].replace(f":{mine}:", elsewhere)) is None  # fmt: skip
    assert asked == []
    replica = "arn:aws:kms:eu-west-1:1:key/mrk-1"
    assert AwsKms.open(f"mrk-1{rest}").earlier(replica) is not None
    assert AwsKms.open(f"{replica.replace('eu-west-1', 'us-east-1')}{rest}").earlier(replica) is not None  # fmt: skip

    def denied(self: AwsKms) -> str:
        raise CryptoError("AWS KMS did not do it (AccessDeniedException)")

    # Who may not ask which key it is asks the one that it named.
    monkeypatch.setattr(AwsKms, "key_id", denied)
    client.update_alias(AliasName="alias/models", TargetKeyId=old["KeyId"])
    assert opens(sealed, ServiceKey(f"aws-kms://alias/models{rest}"))
    assert asked == ["alias/models"]


def test_files_and_rings_from_before_keys_had_their_own_names(
    tmp_path: Path, transit: services.Transit
) -> None:
    uri = "vault-transit://transit/k"
    stanza = Stanza(
        "airflow-mlsec/key-service", (hashlib.sha256(uri.encode()).hexdigest()[:32],),
        wrap(open_key_service(uri), b"k" * 16, b"file"),
    )  # fmt: skip
    assert ServiceKey(uri).unwrap(stanza) == b"k" * 16
    assert ServiceKey("vault-transit://transit/other").unwrap(stanza) is None
    key = KeyRing.create(tmp_path / "k", service=uri).ensure("a")
    path = tmp_path / "k" / "root.kms"
    document = json.loads(path.read_text())
    del document["key"]
    path.write_text(json.dumps(document))
    assert KeyRing.open(tmp_path / "k").current("a") == key


def test_two_keys_of_one_account(
    aws_key: str, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two teams, each of which may use its own key, open one file; and a file asks for a limited number of keys."""
    import boto3

    client = boto3.client("kms", region_name="eu-central-1", endpoint_url=aws_endpoint)
    rest = f"?region=eu-central-1&endpoint={aws_endpoint}"
    keys = {}
    for team in ("a", "b"):
        keys[team] = client.create_key()["KeyMetadata"]
        client.create_alias(AliasName=f"alias/team-{team}", TargetKeyId=keys[team]["KeyId"])
    both = [ServiceKey(f"aws-kms://alias/team-{team}{rest}") for team in keys]
    stream = io.BytesIO()
    encrypt(io.BytesIO(b"weights"), stream, both)
    decrypt_, own = AwsKms.decrypt, AwsKms.key_id
    asked: list[str] = []

    def only(team: str, describes: bool) -> None:
        def decrypted(self: AwsKms, sealed: bytes) -> bytes:
            asked.append(self._key)
            if self._key not in (keys[team]["Arn"], f"alias/team-{team}"):
                raise CryptoError("AWS KMS did not do it (AccessDeniedException)")
            return decrypt_(self, sealed)

        def key_id(self: AwsKms) -> str:
            if not describes:
                raise CryptoError("AWS KMS did not do it (AccessDeniedException)")
            return own(self)

        monkeypatch.setattr(AwsKms, "decrypt", decrypted)
        monkeypatch.setattr(AwsKms, "key_id", key_id)

    for team in keys:
        for describes in (True, False):
            only(team, describes)
            asked.clear()
            assert opens(stream.getvalue(), ServiceKey(f"aws-kms://alias/team-{team}{rest}"))
            assert len(asked) == 1 or not describes, (
                "the key that the alias stands for is asked first"
            )
    only("a", True)
    asked.clear()
    stanzas = [
        Stanza(both[1].wrap(b"k" * 16).type, (f"aws-kms://{keys['b']['Arn']}x{n}",), b"x")
        for n in range(500)
    ]
    with pytest.raises(CryptoError, match="AccessDenied"):
        both[0].unwrap_any(stanzas)
    assert len(asked) == 20


def test_identities_are_alternatives(
    tmp_path: Path, transit: services.Transit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """A service that is gone, and a ring whose root key it keeps, do not stop the break-glass identity."""
    uri = "vault-transit://transit/k"
    breakglass = Identity.generate()
    ring = KeyRing.create(tmp_path / "k", service=uri)
    key = identity_of(ring.ensure("artifact", KeyKind.ENCRYPTION))
    stream = io.BytesIO()
    encrypt(io.BytesIO(b"weights"), stream, [ServiceKey(uri), key.recipient, breakglass.recipient])
    sealed = stream.getvalue()

    def kept() -> list[Any]:
        return [ServiceKey(uri), RingKeys(lambda: KeyRing.open(tmp_path / "k"), "artifact")]

    transit.asked.clear()
    assert opens(sealed, *kept(), breakglass)
    assert transit.asked == [], "whoever is here is asked first"
    assert opens(sealed, ServiceKey(uri))
    assert opens(sealed, RingKeys(lambda: KeyRing.open(tmp_path / "k"), "artifact"))
    monkeypatch.setenv("VAULT_TOKEN", "wrong")
    for identities in ([*kept(), breakglass], [breakglass, *kept()]):
        assert opens(sealed, *identities)
    for service in kept():
        with pytest.raises(CryptoError, match=r"Vault did not do it \(Forbidden\)"):
            opens(sealed, service)
    with pytest.raises(CryptoError, match=r"Vault did not do it \(Forbidden\)$"):
        opens(sealed, *kept(), Identity.generate())
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(
        CryptoError, match="none of the identities opened the file: .*'none'.*; .*VAULT_TOKEN"
    ):
        opens(sealed, ServiceKey(uri), RingKeys(lambda: ring, "none"))
    # The other way round: a service that answers opens what a ring that is damaged does not.
    monkeypatch.setenv("VAULT_TOKEN", services.TOKEN)
    (tmp_path / "k" / "ring.json").write_text("{")
    caplog.clear()
    assert opens(sealed, *kept())
    assert "an identity could not be used" in caplog.text


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
