from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlsec.crypto import decrypt_file, digest_file, identity_of, verify_statement
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from airflow_mlsec.register import tables as t
from tests.clinic import Clinic

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
    breakglass = pyrage.x25519.Identity.generate()
    task = operator(model, recipients=[str(breakglass.to_public())], trained_on=[clinic.safe])
    summary = task.execute(context())
    target = model.with_name("model.skops.age")
    assert summary == {
        "target": str(target),
        "recipients": 2,
        "bytes": 70_000,
        "sha256": digest_file(target),
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
    assert set(proof) == {"dataset", "plan", "policy", "run"}
    assert statement["predicate"]["source"]["sha256"] == digest_file(model)
    kinds = {r.name: r.kind for r in clinic.hook.register().rows(sa.select(t.dataset))}
    assert kinds[str(model)] == "model"
    assert kinds[str(target)] == "artifact"
    facets = task.get_openlineage_facets_on_complete(None)
    assert (facets.inputs[0].name, facets.outputs[0].name) == (str(model), str(target))


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
