"""Models signed as folders, beside the OpenSSF's own tool."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.crypto import (
    KeyKind,
    KeyRing,
    VerificationKeys,
    public_half,
    sign_model,
    verify_model,
)
from airflow_mlsec.errors import DatasetError, DatasetNotFound, KeyNotFound, SignatureInvalid
from airflow_mlsec.operators.artifacts import VerifyArtifactOperator
from tests.clinic import Clinic

Run = Callable[..., Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep.bin").write_bytes(b"d")
    (folder / "deep" / "weights.bin").write_bytes(b"w" * 100_000)
    (folder / "deep" / "er" / "täglich").write_text("x")
    (folder / "config.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    return folder


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing.create(tmp_path / "keys")
    ring.make("m", KeyKind.ECDSA)
    return ring


def theirs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_their_tool_verifies_ours(model: Path, ring: KeyRing, tmp_path: Path) -> None:
    key = ring.current("m")
    signature, pem = tmp_path / "model.sig", tmp_path / "key.pem"
    signature.write_text(json.dumps(sign_model(model, key, {"policy": "a" * 64})))
    pem.write_text(public_half(key.kind, key.secret).pem)
    command = ("verify", "key", model, "--signature", signature, "--public_key", pem)
    done = theirs(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    (model / "config.json").write_text("[]")
    assert theirs(*command).returncode != 0


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_we_verify_theirs(model: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    (tmp_path / "private.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public.pem").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, form)
    )
    done = theirs(
        "sign",
        "key",
        model,
        "--signature",
        tmp_path / "s",
        "--private_key",
        tmp_path / "private.pem",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trusted = VerificationKeys.from_pem(tmp_path / "public.pem")
    bundle = json.loads((tmp_path / "s").read_text())
    statement = verify_model(model, bundle, trusted)
    assert len(statement["predicate"]["resources"]) == 4
    (model / "config.json").write_text("[]")
    with pytest.raises(SignatureInvalid, match=r"changed: config\.json"):
        verify_model(model, bundle, trusted)


def test_what_is_not_the_model_is_refused(model: Path, ring: KeyRing, tmp_path: Path) -> None:
    bundle = sign_model(model, ring.current("m"))
    trusted = ring.verification_keys()
    assert verify_model(model, bundle, trusted)["subject"][0]["name"] == "model"
    (model / "extra.py").write_text("import os")
    with pytest.raises(SignatureInvalid, match=r"not signed: extra\.py"):
        verify_model(model, bundle, trusted)
    (model / "extra.py").unlink()
    (model / "deep.bin").rename(tmp_path / "away")
    with pytest.raises(SignatureInvalid, match=r"missing: deep\.bin"):
        verify_model(model, bundle, trusted)
    (tmp_path / "away").rename(model / "deep.bin")
    (model / "link").symlink_to(model / "deep.bin")
    with pytest.raises(DatasetError, match="neither a plain file"):
        verify_model(model, bundle, trusted)
    (model / "link").unlink()
    verify_model(model, bundle, trusted)
    (model / ".git").mkdir()
    (model / ".git" / "HEAD").write_text("git's own files are left out")
    verify_model(model, bundle, trusted)
    (model / ".gitignore").mkdir()
    (model / ".gitignore" / "evil.py").write_text("import os")
    with pytest.raises(SignatureInvalid, match=r"not signed: \.gitignore/evil\.py"):
        verify_model(model, bundle, trusted)
    (model / ".gitignore" / "evil.py").unlink()
    (model / "deep" / ".git").mkdir()
    (model / "deep" / ".git" / "x").write_text("not at the top")
    with pytest.raises(SignatureInvalid, match=r"not signed: deep/\.git/x"):
        verify_model(model, bundle, trusted)
    (model / "deep" / ".git" / "x").unlink()
    other = KeyRing.create(tmp_path / "other")
    other.make("m", KeyKind.ECDSA)
    with pytest.raises(SignatureInvalid, match="no trusted key"):
        verify_model(model, bundle, other.verification_keys())
    with pytest.raises(DatasetNotFound):
        sign_model(tmp_path / "none", ring.current("m"))
    with pytest.raises(KeyNotFound, match="ecdsa-p256"):
        sign_model(model, ring.ensure("ed", KeyKind.SIGNING))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["serialization"].update(ignore_paths=["deep"]),
        lambda p: p["serialization"].update(method="shards"),
        lambda p: p["serialization"].update(allow_symlinks=True),
        lambda p: p["resources"].append(p["resources"][0]),
        lambda p: p["resources"][0].update(algorithm="md5"),
        lambda p: p.pop("resources"),
    ],
)
def test_statements_that_leave_things_out_are_refused(
    model: Path, ring: KeyRing, change: Callable[[dict[str, Any]], Any]
) -> None:
    """Signed by a trusted key, and still not relied on."""
    import base64

    from airflow_mlsec.crypto import STATEMENT_TYPE, sign_payload

    bundle = sign_model(model, ring.current("m"))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement["predicate"])
    forged = sign_payload(json.dumps(statement).encode(), STATEMENT_TYPE, ring.current("m"))
    with pytest.raises(SignatureInvalid):
        verify_model(model, {**bundle, "dsseEnvelope": forged}, ring.verification_keys())


@given(
    bundle=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["dsseEnvelope", "payload", "payloadType", "signatures", "sig"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_arbitrary_bundles_are_refused(
    bundle: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(SignatureInvalid):
        verify_model(tmp_path_factory.getbasetemp(), bundle, VerificationKeys([]))


def test_the_commands_and_the_gate(
    mlsec: Run, model: Path, tmp_path: Path, clinic: Clinic, context: Run
) -> None:
    done = mlsec("sign", model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "model.model.sig")
    assert mlsec("verify", model).returncode == 0
    pem = tmp_path / "key.pem"
    pem.write_text(mlsec("keys", "export", "signing.model").stdout)
    assert mlsec("verify", model, "--public-key", pem).returncode == 0
    gate = VerifyArtifactOperator(task_id="v", artifact=str(model), public_key=str(pem))
    assert len(gate.execute(context())["sha256"]) == 64
    # Another model of the same signer, under a name that is not its own.
    for name, code in (("model", 0), ("another", 1)):
        done = mlsec("verify", model, "--signed-as", name)
        assert (done.returncode, "signed as 'model'" in done.stdout + done.stderr) == (code, True)
    named = {"artifact": str(model), "public_key": str(pem)}
    VerifyArtifactOperator(task_id="v", signed_as="model", **named).execute(context())
    with pytest.raises(AirflowFailException, match="signed as 'model', not as 'another'"):
        VerifyArtifactOperator(task_id="v", signed_as="another", **named).execute(context())
    (model / "config.json").write_text("[]")
    done = mlsec("verify", model)
    assert (done.returncode, "changed: config.json" in done.stderr) == (3, True)
    with pytest.raises(AirflowFailException, match="changed"):
        gate.execute(context())
    with pytest.raises(AirflowFailException, match="without its training data"):
        VerifyArtifactOperator(
            task_id="v", artifact=str(model), public_key=str(pem), trained_on=[clinic.safe]
        ).execute(context())
    mlsec("keys", "create", "signing.post-quantum", "--kind", "ml-dsa-65")
    mlsec("sign", model / "deep.bin")
    assert mlsec("verify", model / "deep.bin", "--post-quantum").returncode == 0
