"""Evaluating the controls of a stage and recording the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Literal

import sqlalchemy as sa
import yaml

from airflow_mlsec.compliance._checks import CHECKS, Result, Subject, today
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.lineage import relate_dataset
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import (
    Register,
    enrich_columns,
    record_check_results,
    record_policy,
    set_dataset,
)

Stage = Literal["source", "release"]


@dataclass(frozen=True)
class Control:
    """One rule: where it comes from, and the check that decides it."""

    id: str
    stage: str
    check: str
    source: str
    title: str


@lru_cache(maxsize=1)
def controls() -> tuple[Control, ...]:
    """All controls of ``controls.yaml``."""
    text = resources.files("airflow_mlsec.compliance").joinpath("controls.yaml").read_text()
    return tuple(Control(**item) for item in yaml.safe_load(text))


def check_dataset(
    policy: Policy,
    dataset: Dataset,
    stage: Stage,
    *,
    raw: Dataset | None = None,
    register: Register | None = None,
    only: Iterable[str] | None = None,
    on: date | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[tuple[Control, Result]]:
    """Evaluate the controls of a stage.

    A check that cannot be carried out has failed, with the reason. ``raw`` is the source that a
    release was made from; ``only`` limits to some control ids.

    :raises UsageError: if ``only`` names a control that the stage does not have.
    """
    chosen = [control for control in controls() if control.stage == stage]
    if only is not None:
        wanted = set(only)
        if unknown := sorted(wanted - {control.id for control in chosen}):
            raise UsageError(
                f"stage {stage} has no control '{unknown[0]}'; it has "
                f"{', '.join(control.id for control in chosen)}"
            )
        chosen = [control for control in chosen if control.id in wanted]
    subject = Subject(policy, dataset, raw, register, on or today())
    results = []
    for control in chosen:
        try:
            result = CHECKS[control.check](subject)
        except MlsecError as error:
            result = Result(False, f"could not be checked: {error}")
        except Exception as error:
            # An engine's message may quote a value. What was not checked has not passed.
            result = Result(False, f"could not be checked: unexpected {type(error).__name__}")
        progress(f"{'passed' if result.passed else 'FAILED'}  {control.id}: {result.detail}")
        results.append((control, result))
    return results


def record_results(
    register: Register,
    policy: Policy,
    dataset: Dataset,
    stage: Stage,
    results: Iterable[tuple[Control, Result]],
    run_id: str | None,
) -> None:
    """Keep the results, and what the policy declares of the dataset's columns, in the register."""
    rows = [
        {
            "control": control.id,
            "source": control.source,
            "passed": result.passed,
            "detail": result.detail,
        }
        for control, result in results
    ]
    now = register.now()
    schema = dataset.schema() if dataset.exists() else None

    def work(connection: sa.Connection) -> None:
        record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
        identifier = set_dataset(
            connection,
            dataset.name.namespace,
            dataset.name.name,
            now,
            uri=dataset.uri,
            policy_digest=policy.digest,
            stage=stage,
        )
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
        record_check_results(connection, identifier, policy.digest, run_id, rows, now)

    register.write(work)
