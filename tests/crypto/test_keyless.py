"""Signatures without a key, by a Sigstore of this machine, beside the OpenSSF's own tool."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_mlsec.crypto import (
    KeylessSigner,
    make_statement,
    model_statement,
    sign_keyless,
    trusted_signers,
    verify_model,
    verify_statement,
)
from airflow_mlsec.errors import CryptoError, SettingError, SignatureInvalid, UsageError
from airflow_mlsec.operators.artifacts import VerifyArtifactOperator
from tests.clinic import Clinic
from tests.crypto import sigstore_services
from tests.crypto.sigstore_services import ISSUER, Sigstore, token
from tests.crypto.test_model_signature import theirs

pytest.importorskip("sigstore", reason="pip install airflow-mlsec[sigstore]")

Run = Callable[..., Any]
WHO = "release@lab.example"
DIGEST = {"f.bin": "a" * 64}


@pytest.fixture(scope="module")
def sigstore() -> Iterator[Sigstore]:
    with sigstore_services.serving() as server:
        yield server


@pytest.fixture
def config(sigstore: Sigstore, tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(sigstore.trust_config))
    return path


def bundle(config: Path, who: str = WHO) -> dict[str, Any]:
    return sign_keyless(make_statement(DIGEST, "t", {"k": 1}), config, token(who))


@pytest.mark.parametrize(
    "who", [WHO, "https://ci.example/lab/repo/.github/release.yaml@refs/tags/v1"]
)
def test_who_signed_is_verified(config: Path, who: str) -> None:
    signed = bundle(config, who)
    trusted = KeylessSigner(who, ISSUER, config)
    assert verify_statement(signed, trusted, DIGEST)["predicate"] == {"k": 1}
    for other in (
        KeylessSigner("release@evil.example", ISSUER, config),
        KeylessSigner(who, "https://evil.example", config),
    ):
        with pytest.raises(SignatureInvalid, match="this is not signed by") as told:
            verify_statement(signed, other, DIGEST)
        # Whoever did sign it is nobody's business.
        if other.identity != who:
            assert who not in str(told.value)
    with pytest.raises(SignatureInvalid, match="digest differs"):
        verify_statement(signed, trusted, {"f.bin": "b" * 64})
    with pytest.raises(UsageError, match="post-quantum"):
        verify_statement(signed, trusted, DIGEST, post_quantum=True)


def test_who_vouches_must_be_said(config: Path) -> None:
    # Without an issuer the library would take anybody's word.
    for identity, issuer in (
        (WHO, ""),
        ("", ISSUER),
        (WHO, " "),
        (WHO, None),
        (None, ISSUER),
        ("", ""),
    ):
        with pytest.raises(UsageError, match=r"OpenID|issuer"):
            trusted_signers(None, identity, issuer, config)
    with pytest.raises(UsageError, match="empty"):
        KeylessSigner(WHO, "", config)
    with pytest.raises(UsageError, match="no file of public keys"):
        trusted_signers(Path(""), None, None, None)
    assert trusted_signers(None, None, None, None) is None


def test_what_was_changed_is_refused(config: Path) -> None:
    trusted, signed = KeylessSigner(WHO, ISSUER, config), bundle(config)
    assert verify_statement(signed, trusted, DIGEST)
    other = json.loads(json.dumps(signed))
    payload = base64.b64decode(other["dsseEnvelope"]["payload"]).replace(b'"k":1', b'"k":2')
    other["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    no_log = json.loads(json.dumps(signed))
    no_log["verificationMaterial"]["tlogEntries"] = []
    late = json.loads(json.dumps(signed))
    [entry] = late["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 7_200)
    elsewhere = json.loads(json.dumps(signed))
    elsewhere["verificationMaterial"]["tlogEntries"] = bundle(config)["verificationMaterial"][
        "tlogEntries"
    ]
    for wrong in (other, no_log, late, elsewhere, {}, [], None, "x", {"dsseEnvelope": 1}):
        with pytest.raises(SignatureInvalid, match="not signed by"):
            verify_statement(wrong, trusted, DIGEST)


def test_another_sigstore_is_not_trusted(config: Path, tmp_path: Path) -> None:
    with sigstore_services.serving() as another:
        (tmp_path / "other.json").write_text(json.dumps(another.trust_config))
        signed = bundle(tmp_path / "other.json")
    assert verify_statement(signed, KeylessSigner(WHO, ISSUER, tmp_path / "other.json"), DIGEST)
    with pytest.raises(SignatureInvalid):
        verify_statement(signed, KeylessSigner(WHO, ISSUER, config), DIGEST)


def test_their_tool_verifies_ours(config: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "weights").write_bytes(b"w" * 1_000)
    signed = sign_keyless(model_statement(model), config, token(WHO))
    assert verify_model(model, signed, KeylessSigner(WHO, ISSUER, config))
    (tmp_path / "s").write_text(json.dumps(signed))
    command = (
        "verify", "sigstore", model, "--signature", tmp_path / "s", "--identity", WHO,
        "--identity_provider", ISSUER, "--trust_config", config,
    )  # fmt: skip
    done = theirs(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    (model / "deep" / "weights").write_bytes(b"x")
    assert theirs(*command).returncode != 0
    with pytest.raises(SignatureInvalid, match="changed: deep/weights"):
        verify_model(model, signed, KeylessSigner(WHO, ISSUER, config))


@pytest.mark.parametrize(
    "wrong", ["", "canary-token", token(WHO, audience="another"), token(WHO, lives=-60), token(WHO) + "x"]
)  # fmt: skip
def test_who_cannot_say_who_they_are_signs_nothing(config: Path, wrong: str) -> None:
    with pytest.raises(CryptoError, match="did not sign") as told:
        sign_keyless(make_statement(DIGEST, "t", {}), config, wrong or " ")
    assert not wrong or wrong not in str(told.value)


def test_what_is_trusted_must_be_readable(tmp_path: Path) -> None:
    for content in (None, "{", "{}", "[]"):
        path = tmp_path / "trust.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(
            SettingError, match=r"trust\.json cannot be read.*sigstore_trust_config"
        ):
            verify_statement({}, KeylessSigner(WHO, ISSUER, path), DIGEST)


def test_the_commands_and_the_gate(
    mlsec: Run,
    clinic: Clinic,
    context: Run,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = {"AIRFLOW__MLSEC__SIGSTORE_TRUST_CONFIG": str(config)}
    monkeypatch.setenv(*next(iter(env.items())))
    (tmp_path / "token").write_text(f"{token(WHO)}\n")
    model, file = tmp_path / "model", tmp_path / "model.age"
    model.mkdir()
    (model / "weights").write_bytes(b"w")
    file.write_bytes(b"sealed")
    who = ("--certificate-identity", WHO, "--certificate-oidc-issuer", ISSUER)
    for source in (model, file):
        done = mlsec("sign", source, "--keyless", "--identity-token", tmp_path / "token", env=env)
        assert done.returncode == 0, done.stderr
        done = mlsec("verify", source, *who, env=env)
        assert (done.returncode, "signature valid" in done.stdout) == (0, True), done.stderr
        assert mlsec("verify", source, env=env).returncode == 3, "the ring did not sign it"
        assert mlsec("verify", source, *who[:2], env=env).returncode == 2
        given = {"certificate_identity": WHO, "certificate_oidc_issuer": ISSUER}
        gate = VerifyArtifactOperator(task_id="v", artifact=str(source), **given)
        assert len(gate.execute(context())["sha256"]) == 64
        given["certificate_identity"] = "somebody@else.example"
        with pytest.raises(AirflowFailException, match=r"not signed by somebody@else\.example"):
            VerifyArtifactOperator(task_id="v", artifact=str(source), **given).execute(context())
    assert mlsec("sign", file, "--identity-token", tmp_path / "token", env=env).returncode == 2
    assert mlsec("sign", file, "--keyless", "--key", "signing", env=env).returncode == 2
