from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airflow_mlsec.artifacts import verified
from airflow_mlsec.crypto import (
    DecryptedArtifact,
    HybridIdentity,
    KeyKind,
    KeyRing,
    RingKeys,
    decrypt_file,
    digest_file,
    encrypt_file,
    encrypt_folder,
    identity_of,
    verify_statement,
)
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed, DecryptionFailed, SignatureInvalid
from airflow_mlsec.ledger import FileStatement, sign_statement
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.artifacts import DecryptArtifactOperator, VerifyArtifactOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from airflow_mlsec.register import tables as t
from tests.clinic import Clinic
from tests.damage import last_byte_changed

Context = Callable[..., Any]


@pytest.fixture
def model(clinic: Clinic) -> Path:
    path = clinic.folder / "model.skops"
    path.write_bytes(b"weights" * 10_000)
    return path


def operator(model: Path, **more: Any) -> EncryptArtifactOperator:
    return EncryptArtifactOperator(
        task_id="e", source=model.as_uri(), target=f"{model.as_uri()}.age", **more
    )


def test_it_encrypts_signs_and_says_where_the_model_comes_from(
    clinic: Clinic, context: Context, model: Path
) -> None:
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    model.touch()
    breakglass = pyrage.x25519.Identity.generate()
    task = operator(model, recipients=[str(breakglass.to_public())], trained_on=[clinic.safe])
    summary = task.execute(context())
    target = model.with_name("model.skops.age")
    assert summary == {
        "target": str(target),
        "recipients": 2,
        "bytes": 70_000,
        "sha256": digest_file(target),
        "version": 1,
        "unchanged": False,
    }
    assert pyrage.decrypt(target.read_bytes(), [breakglass]) == model.read_bytes()
    keys = clinic.hook.key_ring()
    decrypt_file(target, clinic.folder / "back", [identity_of(keys.current("artifact"))])
    assert (clinic.folder / "back").read_bytes() == model.read_bytes()
    envelope = json.loads(target.with_name("model.skops.age.sig.json").read_text())
    statement = verify_statement(
        envelope, keys.verification_keys(), {target.name: digest_file(target)}
    )
    [proof] = statement["predicate"]["trained_on"]
    assert set(proof) == {"dataset", "evidence", "plan", "policy", "run", "membership"}
    assert proof["membership"]["sha256"] == digest_file(Path(proof["membership"]["path"]))
    assert statement["predicate"]["source"]["sha256"] == digest_file(model)
    kinds = {r.name: r.kind for r in clinic.hook.register().rows(sa.select(t.dataset))}
    assert kinds[str(model)] == "model"
    assert kinds[str(target)] == "artifact"
    facets = task.get_openlineage_facets_on_complete(None)
    assert (facets.inputs[0].name, facets.outputs[0].name) == (str(model), str(target))


def test_a_model_names_the_release_that_it_was_trained_on(
    clinic: Clinic, context: Context, model: Path
) -> None:
    """Released anew between training and encrypting: the newest release is not the one."""
    task = AnonymizeOperator(task_id="a", policy="people", target=clinic.safe)
    first = task.execute(context(run_id="run-1"))
    # Longer ago than the time of a file is rounded.
    os.utime(model, (time.time() - 60, time.time() - 60))
    task.execute(context(run_id="run-2"))
    with pytest.raises(AirflowFailException, match="was released at .* say which"):
        operator(model, trained_on=[clinic.safe]).execute(context())
    with pytest.raises(AirflowFailException, match="a release .* that the register does not have"):
        unknown = {"dataset": clinic.safe, "evidence": "00" * 32}
        operator(model, trained_on=[unknown]).execute(context())
    said = {"dataset": clinic.safe, "evidence": first["evidence"]}
    operator(model, trained_on=[said]).execute(context())
    envelope = json.loads(model.with_name("model.skops.age.sig.json").read_text())
    target = model.with_name("model.skops.age")
    statement = verify_statement(
        envelope, clinic.hook.key_ring().verification_keys(), {target.name: digest_file(target)}
    )
    [proof] = statement["predicate"]["trained_on"]
    assert "/run-1/" in proof["run"]
    # Written again it was trained on the newest, as far as anybody can tell.
    model.touch()
    operator(model, trained_on=[clinic.safe]).execute(context())


def test_what_is_there_already_is_not_done_again(
    clinic: Clinic, context: Context, model: Path
) -> None:
    first = operator(model).execute(context())
    target = model.with_name("model.skops.age")
    before = target.stat()
    first_written = (before.st_ino, before.st_size, before.st_mtime_ns)
    again = operator(model).execute(context(run_id="run-2"))
    assert again == {**first, "unchanged": True}
    now = target.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == first_written
    breakglass = HybridIdentity.generate().recipient
    model.write_bytes(b"new" * 10_000)
    for task, changes in (
        (operator(model), "the source"),
        (operator(model, recipients=[str(breakglass)]), "the recipients"),
        (operator(model, recipients=[str(breakglass)], kind="artifact"), "what it is"),
    ):
        assert task.execute(context())["unchanged"] is False, changes
        assert task.execute(context())["unchanged"] is True, changes
    # What was tampered with, or has lost its signature, is made anew.
    task = operator(model)
    task.execute(context())
    target.write_bytes(last_byte_changed(target.read_bytes()))
    assert task.execute(context())["unchanged"] is False
    target.with_name("model.skops.age.sig.json").write_text("{")
    assert task.execute(context())["unchanged"] is False
    DecryptArtifactOperator(
        task_id="d", source=str(target), target=str(clinic.folder / "b")
    ).execute(context())
    assert (clinic.folder / "b").read_bytes() == model.read_bytes()


def pair(target: Path) -> tuple[bytes, bytes]:
    return target.read_bytes(), target.with_name(f"{target.name}.sig.json").read_bytes()


def put(target: Path, both: tuple[bytes, bytes]) -> None:
    target.write_bytes(both[0])
    target.with_name(f"{target.name}.sig.json").write_bytes(both[1])


def test_an_older_version_in_the_place_of_a_newer_is_refused(
    clinic: Clinic, context: Context, model: Path
) -> None:
    """Whoever can write to the bucket puts back the model from before somebody was erased."""
    target, back = model.with_name("model.skops.age"), clinic.folder / "back"

    def verified_(path: Path = target, **more: Any) -> Any:
        return VerifyArtifactOperator(task_id="v", artifact=str(path), **more).execute(context())

    def decrypted(path: Path = target, **more: Any) -> Any:
        task = DecryptArtifactOperator(task_id="d", source=str(path), target=str(back), **more)
        return task.execute(context())

    assert operator(model).execute(context())["version"] == 1
    first = pair(target)
    model.write_bytes(b"new" * 9_000)
    assert operator(model).execute(context())["version"] == 2
    second = pair(target)
    assert verified_()["version"] == verified_(version="2")["version"] == 2
    with pytest.raises(AirflowFailException, match="is version 2, not 1"):
        verified_(version=1)
    put(target, first)
    for refused in (verified_, decrypted):
        with pytest.raises(AirflowFailException, match="version 1, and version 2 was published .* name its version"):  # fmt: skip
            refused()
    assert not back.exists()
    # Whoever wants it says so.
    assert verified_(version=1)["version"] == 1
    assert decrypted(version=1)["bytes"] == 70_000
    # A copy in another place may be an earlier one.
    copied = clinic.folder / "kept" / target.name
    copied.parent.mkdir()
    put(copied, first)
    assert verified_(copied)["version"] == 1
    # Encrypting its source again does not take it for what is there already, and makes it the newest.
    model.write_bytes(b"weights" * 10_000)
    made = operator(model).execute(context())
    assert (made["version"], made["unchanged"]) == (3, False)
    assert operator(model).execute(context())["unchanged"] is True
    put(target, second)
    with pytest.raises(AirflowFailException, match="version 2, and version 3"):
        verified_()
    with pytest.raises(AirflowException, match="`version` is the number"):
        verified_(version="newest")
    with pytest.raises(AirflowException, match="choose one"):
        decrypted(version=1, verify=False)


def test_another_artifact_in_the_place_of_one_is_refused(
    clinic: Clinic, context: Context, model: Path
) -> None:
    """With the ring's own signature, and however the path is spelled: what the register does not know there is not it."""
    prod, staging = clinic.folder / "prod", clinic.folder / "staging"

    def made(folder: Path, content: bytes, name: str = "model.age") -> Path:
        folder.mkdir(exist_ok=True)
        model.write_bytes(content)
        target = folder / name
        EncryptArtifactOperator(task_id="e", source=str(model), target=str(target)).execute(
            context()
        )
        return target

    def verified_(path: Path, **more: Any) -> Any:
        return VerifyArtifactOperator(task_id="v", artifact=str(path), **more).execute(context())

    target = made(prod, b"good")
    made(prod, b"better")
    newest = pair(target)
    experiment = made(staging, b"an experiment")
    put(target, pair(experiment))
    for more in ({}, {"version": 1}):
        with pytest.raises(
            AirflowFailException, match="none of the versions that were published in its place"
        ):
            verified_(target, **more)
    made(staging, b"another")
    put(target, pair(experiment))
    with pytest.raises(AirflowFailException, match="none of the versions"):
        verified_(target, version=2)
    put(target, newest)
    assert verified_(target)["version"] == 2
    # By way of a link to the folder.
    (clinic.folder / "current").symlink_to(prod)
    first = made(prod, b"3")
    old = pair(first)
    made(prod, b"4")
    put(target, old)
    for path in (target, clinic.folder / "current" / "model.age"):
        with pytest.raises(AirflowFailException, match="version 3, and version 4 was published"):
            verified_(path)
    # Signed as a plain file.
    envelope = sign_statement(
        clinic.hook.key_ring(), {target.name: digest_file(target)}, FileStatement()
    )
    target.with_name("model.age.sig.json").write_text(json.dumps(envelope))
    with pytest.raises(
        AirflowFailException, match="signed as a plain file, and artifacts were published"
    ):
        verified_(target)
    # A folder, with the signature of a model.
    target.unlink()
    target.mkdir()
    (target / "weights").write_bytes(b"w")
    with pytest.raises(
        AirflowFailException, match="is a folder, and an encrypted artifact was published"
    ):
        verified_(target)


def test_numbers_are_never_given_twice(clinic: Clinic, context: Context, model: Path) -> None:
    """Also of what was withdrawn, and while the key that signed it is to be destroyed."""
    target = model.with_name("model.skops.age")
    operator(model).execute(context())
    withdrawn = pair(target)
    register = clinic.hook.register()
    register.write(lambda c: c.execute(sa.update(t.evidence).values(outcome="withdrawn")))
    model.write_bytes(b"2")
    assert operator(model).execute(context())["version"] == 2
    put(target, withdrawn)
    with pytest.raises(AirflowFailException, match="none of the versions"):
        VerifyArtifactOperator(task_id="v", artifact=str(target)).execute(context())
    keys = clinic.hook.key_ring()
    keys.rotate("signing")
    keys.schedule("signing", 1, timedelta(days=7))
    model.write_bytes(b"3")
    assert operator(model).execute(context())["version"] == 3


def test_an_older_source_is_not_published_as_the_newest_version(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long has read an older source than what was published meanwhile."""
    from airflow_mlsec.artifacts import Encryption, _encrypt, _rewrap, rewrap_artifact
    from airflow_mlsec.datasets import open_artifact

    target = model.with_name("model.skops.age")
    operator(model).execute(context())
    newest: dict[str, Any] = {}
    for module, name, work in (
        (_encrypt, "encrypt", lambda: operator(model, kind="artifact").execute(context())),
        (_rewrap, "rewrap", lambda: rewrap_artifact(
            open_artifact(str(target)), Encryption(), [RingKeys(clinic.hook.key_ring, "artifact")],
            clinic.hook.key_ring(), clinic.hook.register(),
        )),
    ):  # fmt: skip
        plain = getattr(module, name)

        def slow(*given: Any, plain: Any = plain, module: Any = module, name: str = name) -> None:
            plain(*given)
            monkeypatch.setattr(module, name, plain)
            model.write_bytes(os.urandom(2_000))
            newest.update(operator(model).execute(context()))

        newest.clear()
        monkeypatch.setattr(module, name, slow)
        with pytest.raises((AirflowException, ChangedMeanwhile), match="another run wrote"):
            work()
        assert digest_file(target) == newest["sha256"]
        found = VerifyArtifactOperator(task_id="v", artifact=str(target)).execute(context())
        assert found["version"] == newest["version"]


def test_a_slow_clock_and_small_slips(clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from airflow_mlsec.register import Register

    target = model.with_name("model.skops.age")
    operator(model, expires_in=timedelta(days=1)).execute(context())
    kept = pair(target)
    now = Register.now
    with monkeypatch.context() as later:
        later.setattr(Register, "now", lambda self: (datetime.fromisoformat(now(self)) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))  # fmt: skip
        model.write_bytes(b"newer")
        operator(model).execute(context())
    put(target, kept)
    with pytest.raises(AirflowFailException, match="expired at"):
        VerifyArtifactOperator(task_id="v", artifact=str(target), version=1).execute(context())
    with pytest.raises(AirflowException, match="within a hundred years"):
        operator(model, expires_in=timedelta(days=99_999_999)).execute(context())
    long = EncryptArtifactOperator(
        task_id="e", source=str(model), target=str(clinic.folder / ("x" * 250))
    )
    with pytest.raises(AirflowException, match="is too long: its signature"):
        long.execute(context())
    assert not list(clinic.folder.glob("xxx*"))
    assert operator(model, key="never-made").dry_run() is None
    assert not clinic.hook.key_ring().has("never-made")
    with pytest.raises(AirflowException, match="`version` is the number"):
        VerifyArtifactOperator(task_id="v", artifact=str(target), version="9" * 5_000).execute(
            context()
        )


def test_two_runs_do_not_publish_the_same_version(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.artifacts import _encrypt

    target = model.with_name("model.skops.age")
    announce = _encrypt.begin_artifact

    def late(*given: Any) -> Any:
        monkeypatch.setattr(_encrypt, "begin_artifact", announce)
        other.update(operator(model, recipients=[str(HybridIdentity.generate().recipient)]).execute(context()))  # fmt: skip
        return announce(*given)

    other: dict[str, Any] = {}
    monkeypatch.setattr(_encrypt, "begin_artifact", late)
    with pytest.raises(AirflowException, match="another run wrote .* run it again") as raised:
        operator(model).execute(context())
    assert not isinstance(raised.value, AirflowFailException), "it is tried again"
    assert other["version"] == 1
    assert digest_file(target) == other["sha256"]
    assert VerifyArtifactOperator(task_id="v", artifact=str(target)).execute(context())["version"] == 1  # fmt: skip
    assert operator(model).execute(context())["version"] == 2


def test_an_artifact_expires(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.register import Register

    target = model.with_name("model.skops.age")
    days = timedelta(days=90)
    assert operator(model).execute(context())["unchanged"] is False
    made = operator(model, expires_in=days).execute(context())
    assert made["unchanged"] is False, "it was without an end before"
    assert operator(model, expires_in=days).execute(context())["unchanged"] is True
    verify = VerifyArtifactOperator(task_id="v", artifact=str(target))
    until = datetime.fromisoformat(verify.execute(context())["expires_at"])
    assert timedelta(days=89) < until - datetime.now(UTC) <= days
    now = Register.now

    def later(self: Register) -> str:
        moment = datetime.fromisoformat(now(self)) + timedelta(days=91)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    monkeypatch.setattr(Register, "now", later)
    with pytest.raises(AirflowFailException, match="expired at 20"):
        verify.execute(context())
    with pytest.raises(AirflowFailException, match="expired at 20"):
        DecryptArtifactOperator(
            task_id="d", source=str(target), target=str(clinic.folder / "b")
        ).execute(context())
    assert not (clinic.folder / "b").exists()
    again = operator(model, expires_in=days).execute(context())
    assert (again["unchanged"], again["version"]) == (False, made["version"] + 1)
    assert verify.execute(context())["version"] == again["version"]
    with pytest.raises(AirflowException, match="must be positive"):
        operator(model, expires_in=timedelta(0)).execute(context())


def test_an_artifact_gets_other_recipients_and_stays_signed(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.artifacts import Encryption, _rewrap, rewrap_artifact
    from airflow_mlsec.datasets import open_artifact

    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    model.touch()
    operator(model, trained_on=[clinic.safe]).execute(context())
    target = model.with_name("model.skops.age")
    keys, register = clinic.hook.key_ring(), clinic.hook.register()
    artifact, newcomer = open_artifact(str(target)), HybridIdentity.generate()
    ring = [RingKeys(clinic.hook.key_ring, "artifact")]
    before = pair(target)

    def rewrapped(*identities: Any, **more: Any) -> Any:
        how = Encryption([str(newcomer.recipient)], None)
        return rewrap_artifact(artifact, how, identities, keys, register, **more)

    assert rewrapped(*ring, dry_run=True).envelope is None
    with pytest.raises(DecryptionFailed):
        rewrapped(HybridIdentity.generate())
    assert pair(target) == before
    # Killed before the signature is written: the register has it.
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_rewrap, "write_signature", interrupted)
        rewrapped(*ring)
    assert pair(target)[1] == before[1]
    made = rewrapped(newcomer)
    assert made.version == 3
    found = VerifyArtifactOperator(task_id="v", artifact=str(target), trained_on=[clinic.safe]).execute(context())  # fmt: skip
    assert (found["recipients"], found["version"]) == ([str(newcomer.recipient)], 3)
    decrypt_file(target, clinic.folder / "back", [newcomer])
    assert (clinic.folder / "back").read_bytes() == model.read_bytes()
    with pytest.raises(DecryptionFailed):
        decrypt_file(target, clinic.folder / "b", [identity_of(keys.current("artifact"))])
    outcomes = [r.outcome for r in register.rows(sa.select(t.evidence.c.outcome))]
    assert "published" in outcomes
    # The one before it is an older one.
    put(target, before)
    with pytest.raises(AirflowFailException, match="version 1, and version 3"):
        VerifyArtifactOperator(task_id="v", artifact=str(target)).execute(context())
    with pytest.raises(CheckFailed, match="version 1, and version 3"):
        rewrapped(*ring)
    target.write_bytes(last_byte_changed(before[0]))
    with pytest.raises(SignatureInvalid):
        rewrapped(*ring)


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_folder_goes_and_comes_back(clinic: Clinic, context: Context) -> None:
    folder = clinic.folder / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights.bin").write_bytes(b"w" * 200_000)
    (folder / "config.json").write_text("{}")
    target = clinic.folder / "model.tar.age"
    task = EncryptArtifactOperator(task_id="e", source=str(folder), target=str(target))
    assert task.execute(context())["unchanged"] is False
    assert task.execute(context())["unchanged"] is True
    VerifyArtifactOperator(task_id="v", artifact=str(target)).execute(context())
    back = DecryptArtifactOperator(
        task_id="d", source=str(target), target=str(clinic.folder / "back"), folder=True
    )
    back.execute(context())
    assert (clinic.folder / "back" / "deep" / "weights.bin").read_bytes() == b"w" * 200_000
    with pytest.raises(AirflowException, match="exists"):
        back.execute(context())
    within = EncryptArtifactOperator(task_id="e", source=str(folder), target=f"{folder}/x.age")
    with pytest.raises(AirflowFailException, match="within the folder"):
        within.execute(context())


def test_a_folder_of_another_filesystem_is_the_same_archive(
    clinic: Clinic, context: Context
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/pond/model/deep/weights.bin": b"w" * 200_000, "/pond/model/config.json": b"{}"})
    remote = EncryptArtifactOperator(
        task_id="e", source="memory://pond/model", target="memory://pond/m.age", compress=True
    )
    done = remote.execute(context())
    assert remote.execute(context())["unchanged"] is True
    uncompressed = EncryptArtifactOperator(
        task_id="e", source="memory://pond/model", target="memory://pond/m.age"
    )
    assert uncompressed.execute(context())["unchanged"] is False
    folder = clinic.folder / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights.bin").write_bytes(b"w" * 200_000)
    (folder / "config.json").write_text("{}")
    local = EncryptArtifactOperator(
        task_id="e", source=str(folder), target=str(clinic.folder / "m.age"), compress=True
    )
    assert local.execute(context())["bytes"] == done["bytes"] > 200_000
    digests = []
    for place in (memory.cat("/pond/m.age.sig.json"), (clinic.folder / "m.age.sig.json").read_bytes()):  # fmt: skip
        statement = json.loads(base64.b64decode(json.loads(place)["payload"]))
        digests.append(statement["predicate"]["source"]["sha256"])
    assert digests[0] == digests[1]
    for source, name in (("memory://pond/m.age", "a"), (str(clinic.folder / "m.age"), "b")):
        DecryptArtifactOperator(
            task_id="d", source=source, target=str(clinic.folder / name), folder=True
        ).execute(context())
        assert (clinic.folder / name / "deep" / "weights.bin").read_bytes() == b"w" * 200_000
    for source, target, reason in (
        ("memory://pond/model", "memory://pond/model/deep/x.age", "within the folder"),
        ("memory://pond/model/config.json", "memory://pond/x.age", "is for folders"),
        ("memory://pond/nothing", "memory://pond/x.age", "no file at"),
    ):
        task = EncryptArtifactOperator(task_id="e", source=source, target=target, compress=True)
        with pytest.raises(AirflowException, match=reason):
            task.execute(context())
    assert not memory.exists("/pond/x.age")
    memory.rm("/pond", recursive=True)


def test_an_archive_that_is_exchanged_after_it_was_verified_is_not_unpacked(
    clinic: Clinic, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clinic.folder / "model"
    folder.mkdir()
    (folder / "a").write_text("ours")
    target = clinic.folder / "m.age"
    EncryptArtifactOperator(task_id="e", source=str(folder), target=str(target)).execute(context())
    (folder / "a").write_text("theirs")
    recipient = identity_of(clinic.hook.key_ring().current("artifact")).recipient

    def exchanged(artifact: Any, *more: Any) -> Any:
        found = verified(artifact, *more)
        encrypt_folder(folder, target, [recipient])
        return found

    monkeypatch.setattr("airflow_mlsec.artifacts._decrypt.verified", exchanged)
    task = DecryptArtifactOperator(
        task_id="d", source=str(target), target=str(clinic.folder / "back"), folder=True
    )
    with pytest.raises(AirflowException, match="changed while it was read"):
        task.execute(context())
    assert not (clinic.folder / "back").exists()


def test_it_must_be_signed_by_whoever_is_required(
    clinic: Clinic, context: Context, model: Path
) -> None:
    """The ring's signature does not do, if somebody else's is required; and the other way round."""
    from airflow_mlsec.crypto import public_half

    target, back = clinic.folder / "m.age", clinic.folder / "back.skops"
    EncryptArtifactOperator(task_id="e", source=str(model), target=str(target)).execute(context())
    mine = clinic.folder / "ring.pem"
    ring = clinic.hook.key_ring()
    key = ring.current("signing")
    mine.write_text(public_half(key.kind, key.secret).pem)
    theirs = clinic.folder / "theirs.pem"
    other = KeyRing.create(clinic.folder / "other")
    key = other.ensure("signing", KeyKind.SIGNING)
    theirs.write_text(public_half(key.kind, key.secret).pem)

    def decrypted(public_key: Path) -> int:
        task = DecryptArtifactOperator(
            task_id="d", source=str(target), target=str(back), public_key=str(public_key)
        )
        return int(task.execute(context())["bytes"])

    with pytest.raises(AirflowException, match="SignatureInvalid"):
        decrypted(theirs)
    assert not back.exists()
    assert decrypted(mine) == model.stat().st_size
    with pytest.raises(AirflowException, match="no file of public keys"):
        decrypted(clinic.folder / "nothing.pem")
    with pytest.raises(ValueError, match="`public_key` is given, and `verify` is False"):
        DecryptArtifactOperator(task_id="d", source="a", target="b", public_key="k", verify=False)


def test_from_and_to_another_filesystem(clinic: Clinic, context: Context, model: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/vault-of-encrypt/model.skops", model.read_bytes())
    task = EncryptArtifactOperator(
        task_id="e",
        source="memory://vault-of-encrypt/model.skops",
        target="memory://vault-of-encrypt/model.age",
    )
    done = task.execute(context())
    assert (done["target"], done["unchanged"]) == ("memory://vault-of-encrypt/model.age", False)
    assert task.execute(context())["unchanged"] is True
    names = {name.rsplit("/", 1)[-1] for name in memory.ls("/vault-of-encrypt", detail=False)}
    assert names == {"model.skops", "model.age", "model.age.sig.json"}
    VerifyArtifactOperator(task_id="v", artifact="memory://vault-of-encrypt/model.age").execute(
        context()
    )
    back = DecryptArtifactOperator(
        task_id="d",
        source="memory://vault-of-encrypt/model.age",
        target="memory://vault-of-encrypt/back",
    )
    assert back.execute(context())["bytes"] == 70_000
    assert memory.cat("/vault-of-encrypt/back") == model.read_bytes()
    # Nothing of what does not verify appears.
    memory.pipe(
        "/vault-of-encrypt/model.age", last_byte_changed(memory.cat("/vault-of-encrypt/model.age"))
    )
    with pytest.raises(AirflowFailException, match="digest differs"):
        back.execute(context())
    memory.pipe("/vault-of-encrypt/back", b"as it was")
    careless = DecryptArtifactOperator(
        task_id="d",
        source="memory://vault-of-encrypt/model.age",
        target="memory://vault-of-encrypt/back",
        verify=False,
    )
    with pytest.raises(AirflowFailException, match="DecryptionFailed"):
        careless.execute(context())
    assert memory.cat("/vault-of-encrypt/back") == b"as it was"
    assert not [n for n in memory.ls("/vault-of-encrypt", detail=False) if n.endswith(".partial")]
    with pytest.raises(AirflowException, match="no file at memory://vault-of-encrypt/none"):
        EncryptArtifactOperator(
            task_id="e",
            source="memory://vault-of-encrypt/none",
            target="memory://vault-of-encrypt/x",
        ).execute(context())
    memory.rm("/vault-of-encrypt", recursive=True)


def test_break_glass_opens_everything(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = HybridIdentity.generate()
    monkeypatch.setenv("AIRFLOW__MLSEC__BREAK_GLASS_RECIPIENTS", f" {key.recipient} ,")
    done = operator(model).execute(context())
    assert done["recipients"] == 2
    decrypt_file(model.with_name("model.skops.age"), clinic.folder / "back", [key])
    assert (clinic.folder / "back").read_bytes() == model.read_bytes()
    with pytest.raises(AirflowFailException, match="only break-glass"):
        operator(model, key=None).execute(context())
    # Given as well, it is one recipient.
    again = operator(model, recipients=[str(key.recipient)])
    assert again.execute(context())["unchanged"] is True


def test_training_data_without_evidence_is_refused(
    clinic: Clinic, context: Context, model: Path
) -> None:
    with pytest.raises(AirflowFailException, match="has no signed release"):
        operator(model, trained_on=[clinic.raw]).execute(context())
    assert not model.with_name("model.skops.age").exists()


def test_a_cancelled_task_leaves_no_target(clinic: Clinic, context: Context, model: Path) -> None:
    task = operator(model)
    task.on_kill()
    with pytest.raises(AirflowException):
        task.execute(context())
    assert sorted(
        p.name for p in clinic.folder.iterdir() if p.name.startswith(("model", ".model"))
    ) == ["model.skops"]


def test_dry_run_and_bad_input(clinic: Clinic, context: Context, model: Path) -> None:
    operator(model, dry_run=True).execute(context())
    operator(model).dry_run()
    assert not model.with_name("model.skops.age").exists()
    for wrong in (
        operator(model, recipients=["age1x"]),
        operator(model, key=None),
        operator(model.with_name("none")),
    ):
        with pytest.raises(AirflowFailException):
            wrong.execute(context())


def test_an_artifact_is_verified_and_decrypted(
    clinic: Clinic, context: Context, model: Path
) -> None:
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    model.touch()
    operator(model, trained_on=[clinic.safe]).execute(context())
    sealed, back = model.with_name("model.skops.age"), clinic.folder / "back.skops"
    gate = VerifyArtifactOperator(task_id="v", artifact=str(sealed), trained_on=[clinic.safe])
    assert gate.execute(context())["sha256"] == digest_file(sealed)
    done = DecryptArtifactOperator(task_id="d", source=str(sealed), target=str(back))
    assert done.execute(context()) == {"target": str(back), "bytes": 70_000}
    assert back.read_bytes() == model.read_bytes()
    with DecryptedArtifact(
        sealed, [identity_of(clinic.hook.key_ring().current("artifact"))]
    ) as path:
        assert path.name == "model.skops"
        assert path.read_bytes() == model.read_bytes()
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()

    def refused(task: Any, message: str) -> None:
        with pytest.raises(AirflowFailException, match=message):
            task.execute(context())

    other = KeyRing.create(clinic.folder / "other")
    other.ensure("signing", KeyKind.SIGNING)
    pem = clinic.folder / "other.pem"
    pem.write_text(public_pem(other))
    refused(
        VerifyArtifactOperator(task_id="v", artifact=str(sealed), public_key=str(pem)),
        "no trusted key",
    )
    refused(
        VerifyArtifactOperator(task_id="v", artifact=str(sealed), trained_on=[clinic.raw]),
        "not trained on",
    )
    # The data is released anew under another policy: the model is of the past.
    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(
        policy.read_text().replace("version: 1", "version: 1\nrecipients: [{name: lab}]")
    )
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    refused(gate, "under another policy or plan")
    back.unlink()
    sealed.write_bytes(last_byte_changed(sealed.read_bytes()))
    refused(done, "digest differs")
    refused(gate, "digest differs")
    assert not back.exists()
    sealed.with_name("model.skops.age.sig.json").unlink()
    refused(gate, "no file at")


def test_nothing_is_left_of_what_does_not_decrypt(tmp_path: Path) -> None:
    key = HybridIdentity.generate()
    (tmp_path / "m").write_bytes(b"secret" * 1_000)
    encrypt_file(tmp_path / "m", tmp_path / "m.age", [key.recipient])
    below = tmp_path / "below"
    below.mkdir()
    with (
        pytest.raises(DecryptionFailed),
        DecryptedArtifact(tmp_path / "m.age", [HybridIdentity.generate()], below),
    ):
        pass
    assert not list(below.iterdir())
    with pytest.raises(RuntimeError), DecryptedArtifact(tmp_path / "m.age", [key], below) as path:
        assert path.read_bytes() == b"secret" * 1_000
        raise RuntimeError
    assert not list(below.iterdir())


def public_pem(keys: KeyRing) -> str:
    public = Ed25519PrivateKey.from_private_bytes(keys.current("signing").secret).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


# --- a process that dies


@pytest.mark.parametrize("moment", ["before it appears", "after it appeared"])
def test_an_artifact_whose_writer_was_killed_is_known(
    clinic: Clinic,
    context: Context,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """What is to be published is in the register before it appears, with what it was made from."""
    import os

    from airflow_mlsec.lineage import settle_intents
    from airflow_mlsec.lineage.evidence import _intents

    target, replace = model.with_name("model.skops.age"), os.replace

    class Killed(BaseException):
        pass

    def killing(source: Any, destination: Any, **more: Any) -> None:
        if str(destination) != str(target):
            return replace(source, destination, **more)
        if moment == "after it appeared":
            replace(source, destination, **more)
        raise Killed

    monkeypatch.setattr(os, "replace", killing)
    with pytest.raises(Killed):
        operator(model).execute(context())
    monkeypatch.setattr(os, "replace", replace)
    register = clinic.hook.register()
    [row] = register.rows(sa.select(t.evidence.c.outcome, t.evidence.c.dataset_id))
    assert row.outcome == "intended"
    [still] = settle_intents(register)
    if moment == "after it appeared":
        assert (still.outcome, register.rows(sa.select(t.evidence.c.outcome))[0].outcome) == ("published",) * 2  # fmt: skip
    else:
        # This process is still there, and could go on.
        assert still.outcome == "intended"
        monkeypatch.setattr(_intents, "has_ended", lambda writer: True)
        [gone] = settle_intents(register)
        assert gone.outcome == "withdrawn"
        assert not target.exists()
    names = [r.name for r in register.rows(sa.select(t.dataset.c.name).order_by(t.dataset.c.name))]
    assert {str(model), str(target)} <= set(names)
    runs = register.rows(sa.select(t.run.c.id))
    assert runs, "what it was made from is an edge, whether or not Airflow sends lineage"
    # The signature beside it was not written: a retry encrypts anew.
    assert operator(model).execute(context())["unchanged"] is False
    assert operator(model).execute(context())["unchanged"] is True
    outcomes = {r.outcome for r in register.rows(sa.select(t.evidence.c.outcome))}
    assert "intended" not in outcomes


def test_nothing_is_published_that_cannot_be_recorded(
    clinic: Clinic, context: Context, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.artifacts import _encrypt
    from airflow_mlsec.errors import RegisterError

    def refuses(*_: Any) -> None:
        raise RegisterError("the register's disk is full")

    monkeypatch.setattr(_encrypt, "begin_artifact", refuses)
    with pytest.raises((RegisterError, AirflowException), match="disk is full"):
        operator(model).execute(context())
    assert not model.with_name("model.skops.age").exists()
