"""From people's health records to an encrypted, signed model that was trained without any of their
identities: which smokers die within the study's follow-up?

    persons table ─┐
                   ├─▶ raw records ─▶ check ─▶ anonymize ─▶ check ─▶ train ─▶ encrypt ─▶ review ─▶ publish
    survey ────────┘

Each step is one operator or task; its privacy rules are in `policies/nhefs.yaml`.
"""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, task

from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from airflow_mlsec.sensors.access_review import AccessReviewSensor

FOLDER = Path(os.environ.get("MLSEC_DEMO_FOLDER", "/srv/mlsec-demo"))
PERSONS = f"sqlite://{FOLDER}/clinic.db/persons"
RAW = f"file://{FOLDER}/raw/nhefs.parquet"
SAFE = f"file://{FOLDER}/safe/nhefs.parquet"
MODEL = f"file://{FOLDER}/models/quit_smoking.skops"
ENCRYPTED = f"file://{FOLDER}/models/quit_smoking.skops.age"
RELEASED = f"file://{FOLDER}/release/quit_smoking.skops.age"

ON_CALL = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")

with DAG(
    dag_id="train_quit_smoking_model",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["privacy"],
    doc_md=__doc__,
    default_args={
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "on_failure_callback": ON_CALL,
    },
    # A task that was killed runs no callback of its own.
    on_failure_callback=ON_CALL,
) as dag:

    @task(outlets=[Asset(PERSONS)])
    def register_persons() -> int:
        """The clinic's system: a table of persons."""
        from nhefs_people import persons

        return _write(persons(), PERSONS)

    @task(inlets=[Asset(PERSONS)], outlets=[Asset(RAW)])
    def extract() -> int:
        """Join the survey's measurements with the persons they were taken from."""
        import pyarrow as pa
        from nhefs_people import records

        from airflow_mlsec.datasets import open_dataset

        identities = pa.Table.from_batches(list(open_dataset(PERSONS).scan())).to_pandas()
        return _write(identities.join(records()), RAW)

    check_persons = ComplianceCheckOperator(
        task_id="check_persons", policy="clinic_persons", dataset=PERSONS
    )
    check_raw = ComplianceCheckOperator(task_id="check_raw", policy="nhefs", dataset=RAW)

    # [START anonymize]
    anonymize = AnonymizeOperator(
        task_id="anonymize",
        policy="nhefs",
        source=RAW,
        target=SAFE,
        purpose="smoking cessation model",
    )
    # [END anonymize]

    check_safe = ComplianceCheckOperator(
        task_id="check_safe", policy="nhefs", stage="release", dataset=SAFE, raw=RAW
    )

    @task(inlets=[Asset(RAW)])
    def score_on_raw() -> float:
        """The score of a model that sees everything; the model is not kept."""
        return _score(RAW)[1]

    @task(inlets=[Asset(SAFE)], outlets=[Asset(MODEL)])
    def train(raw_score: float) -> dict[str, float]:
        """Train only on the anonymized records."""
        import skops.io

        model, score = _score(SAFE)
        path = Path(MODEL.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        skops.io.dump(model, path)
        print(f"cross-validated AUC: {score:.3f} on anonymized, {raw_score:.3f} on raw records")
        return {"auc_anonymized": score, "auc_raw": raw_score}

    encrypt = EncryptArtifactOperator(
        task_id="encrypt", source=MODEL, target=ENCRYPTED, kind="model", trained_on=[SAFE]
    )

    # Who can read the release folder? A person reviews this before anything is put there.
    review_access = AccessReviewSensor(
        task_id="review_access",
        location=str(FOLDER / "release"),
        max_age=timedelta(days=90),
        deferrable=True,
        poke_interval=2,
        timeout=timedelta(days=14).total_seconds(),
    )

    @task(inlets=[Asset(ENCRYPTED)], outlets=[Asset(RELEASED)])
    def publish() -> str:
        """Put the encrypted model and its signature where its users fetch it."""
        for ending in ("", ".sig.json"):
            source = Path(f"{ENCRYPTED}{ending}".removeprefix("file://"))
            target = Path(f"{RELEASED}{ending}".removeprefix("file://"))
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
        return RELEASED

    persons_done, raw_done, raw_score = register_persons(), extract(), score_on_raw()
    persons_done >> [check_persons, raw_done]
    raw_done >> check_raw >> [anonymize, raw_score]
    check_persons >> anonymize >> check_safe
    (
        [check_safe, raw_score]
        >> (trained := train(raw_score))
        >> encrypt
        >> review_access
        >> publish()
    )


def _write(frame, uri: str) -> int:
    """Write a frame as a whole dataset; the folder is made if it is missing."""
    import pyarrow as pa

    from airflow_mlsec.datasets import open_dataset

    FOLDER.joinpath("raw").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    with open_dataset(uri).replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)
    return table.num_rows


def _score(uri: str):
    """A pipeline that predicts death within the follow-up, and its cross-validated AUC."""
    import pandas as pd
    import pyarrow as pa
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from airflow_mlsec.datasets import open_dataset

    data = pa.Table.from_batches(list(open_dataset(uri).scan())).to_pandas()
    unused = {"email", "name", "phone", "street", "enrolled_on", "wt82_71", "death"}
    features = data[[c for c in data.columns if c not in unused]].copy()
    if not pd.api.types.is_string_dtype(features["birth_date"]):
        features["birth_date"] = pd.to_datetime(features["birth_date"]).dt.year
    numbers = make_column_selector(dtype_include="number")
    texts = make_column_selector(dtype_exclude="number")
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=5), texts),
    )
    model = make_pipeline(prepared, LogisticRegression(max_iter=2000))
    scores = cross_val_score(model, features, data["death"], cv=5, scoring="roc_auc")
    return model.fit(features, data["death"]), float(scores.mean())
