"""Evaluates controls and records their findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.column_names import is_value, may_be_values
from airflow_mlsec.controls._control import (
    Answer,
    Asked,
    AssetControl,
    Control,
    DatasetControl,
    DatasetQuestion,
    Reads,
    Severity,
    Stage,
    Text,
    unknown,
)
from airflow_mlsec.controls._exemptions import exempted, exemptions
from airflow_mlsec.controls._registry import controls
from airflow_mlsec.controls.reasons import NotChecked
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.ledger import Asset, AssetKind, Finding, record
from airflow_mlsec.lineage import bind, needs_approval, relate_dataset, releases
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, enrich_columns, keeps_open, record_policy, set_dataset
from airflow_mlsec.register import tables as t

# Names in errors: those of columns may be values.
_QUOTED = re.compile(r"['`]([^'`]*)['`]")
Answers = list[tuple[Control, Answer]]


def ask(
    chosen: Iterable[AssetControl[Asked]],
    question: Asked,
    progress: Callable[[str], None] = lambda message: None,
) -> Answers:
    """The answer of each control. One that cannot be evaluated is unknown, with the reason."""
    answers: Answers = []
    for control in chosen:
        try:
            answer = control.answer(question)
        except Exception as error:
            answer = crashed(error)
        progress(f"{shown(answer)}  {control.id}: {answer.words}")
        answers.append((control, answer))
    return answers


def crashed(error: Exception) -> Answer:
    """The answer of a control that has failed itself."""
    if isinstance(error, MlsecError) and not any(
        is_value(name) for name in _QUOTED.findall(str(error))
    ):
        return unknown(NotChecked(str(error)))
    # An engine's message may quote a value.
    return unknown(NotChecked(f"unexpected {type(error).__name__}"))


def shown(answer: Answer) -> str:
    """An answer's outcome as tables show it."""
    return "passed" if answer.passed else answer.outcome.value.upper()


def check_dataset(
    policy: Policy,
    dataset: Dataset,
    stage: Stage,
    *,
    raw: Dataset | None = None,
    register: Register | None = None,
    only: Iterable[str] | None = None,
    among: Iterable[Control] | None = None,
    on: date | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Answers:
    """Ask the controls of a stage about a dataset. ``raw`` is the source that a release was made from; ``only``
    limits to some control ids, and ``among`` says which controls there are (default: those that are installed). What an
    exemption in the register covers is exempt.

    :raises UsageError: if ``only`` names a control that the stage does not have.
    """
    known = controls() if among is None else among
    chosen = [c for c in known if isinstance(c, DatasetControl) and c.stage == stage]
    if only is not None:
        wanted = set(only)
        if missing := sorted(wanted - {control.id for control in chosen}):
            raise UsageError(
                f"stage {stage} has no control '{missing[0]}'; it has "
                f"{', '.join(control.id for control in chosen)}"
            )
        chosen = [control for control in chosen if control.id in wanted]
    day = on or datetime.now(UTC).date()
    asset = Asset(AssetKind.DATASET, str(dataset.name))
    question = DatasetQuestion(asset, register, day, policy, dataset, raw)
    granted = {} if register is None else register.read(exemptions)
    answers: Answers = []
    for control, found in ask(chosen, question):
        answer = exempted(found, granted.get((asset, control.id)), day)
        progress(f"{shown(answer)}  {control.id}: {answer.words}")
        answers.append((control, answer))
    return answers


class SuiteMeets(AssetControl[DatasetQuestion], abstract=True):
    """A suite of Great Expectations, evaluated like a control and named after the suite."""

    asset = AssetKind.DATASET
    source = "a suite of Great Expectations"
    severity = Severity.HIGH
    reads = (Reads.DATA,)
    remedy = Text(
        en="Look at the expectations that are not met, and mend the data or the suite.",
        de="Sehen Sie sich die nicht erfüllten Erwartungen an, und berichtigen Sie die Daten oder die Suite.",
    )

    def __init__(self, path: str | Path, dataset: Dataset) -> None:
        self.path, self.dataset = Path(path), dataset
        # Instances of one class are different controls.
        self.id = f"suite:{self.path.stem}"  # type: ignore[misc]
        self.title = Text(  # type: ignore[misc]
            en=f"The dataset meets the suite {self.path.name}",
            de=f"Der Datenbestand erfüllt die Suite {self.path.name}",
        )

    def answer(self, question: DatasetQuestion | None = None) -> Answer:
        from airflow_mlsec.controls.expectations import suite_holds

        return suite_holds(self.path, self.dataset)


def check_suite(
    path: str | Path, dataset: Dataset, progress: Callable[[str], None] = lambda message: None
) -> tuple[Control, Answer]:
    """Whether a dataset meets a suite of Great Expectations.

    :raises UsageError: if the file is not a suite.
    """
    control = SuiteMeets(path, dataset)
    answer = control.answer()
    progress(f"{shown(answer)}  {control.id}: {answer.words}")
    return control, answer


def record_answers(
    connection: sa.Connection,
    asset: Asset,
    answers: Iterable[tuple[Control, Answer]],
    by: str,
    now: str,
    evidence: dict[str, Any],
) -> None:
    """Write what controls found into the ledger."""
    record(
        connection,
        [
            Finding(asset, control.id, answer.outcome, answer.reasons, by, now, evidence)
            for control, answer in answers
        ],
    )


@keeps_open
def record_results(
    register: Register,
    policy: Policy,
    dataset: Dataset,
    stage: Stage,
    results: Iterable[tuple[Control, Answer]],
    run_id: str | None,
    began: str | None = None,
) -> None:
    """Record in the register what controls found and what the policy declares about the dataset's columns.

    :param run_id: Airflow's label of the task.
    :param began: The register's time before the dataset was read: what has changed since was not looked at.
    :raises Refused: if the policy protects the dataset less than the one before, and nobody has approved that.
    """
    now = register.now()
    schema = dataset.schema() if dataset.exists() else None
    if schema is not None and may_be_values(schema.names, policy.columns):
        schema = None  # a row about somebody, not the names of columns
    asset = Asset(AssetKind.DATASET, str(dataset.name))
    by = f"task:{run_id}" if run_id else "program"
    needed = needs_approval(register)

    def work(connection: sa.Connection) -> None:
        if stage == "source":
            bind(connection, policy, dataset.name, needed, by, now)
        record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
        named = dataset.name.namespace, dataset.name.name
        identifier = set_dataset(connection, *named, now, uri=dataset.uri)
        # What a policy declares as a source stays one until signed evidence says that a release was made there: whoever checks
        # it as a release by mistake does not make it anonymous.
        is_source = (
            stage == "release"
            and identifier not in releases(connection)
            and (
                connection.execute(
                    sa.select(t.dataset.c.stage).where(t.dataset.c.id == identifier)
                ).scalar_one()
                == "source"
            )
        )
        if not is_source:
            set_dataset(connection, *named, now, policy_digest=policy.digest, stage=stage)
        if schema is not None:
            declared = []
            for position, field in enumerate(schema):
                described = policy.columns.get(field.name)
                declared.append(
                    {
                        "name": field.name,
                        "type": str(field.type),
                        "position": position,
                        "role": described.role.value if described else None,
                        "category": described.category if described else None,
                    }
                )
            enrich_columns(connection, identifier, declared)
        relate_dataset(connection, identifier, now)
        basis = {"policy": policy.digest, "began": began or now}
        record_answers(connection, asset, results, by, now, basis)

    register.write(work)
