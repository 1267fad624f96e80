"""Controls of policy files alone: in any repository's checks, without Airflow, register or data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import cast

from airflow_mlsec.controls._control import Answer, Control, DatasetControl, DatasetQuestion, Reads
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._own_file import ControlSet
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls._reports import Result
from airflow_mlsec.controls._run import crashed
from airflow_mlsec.datasets import Dataset, DatasetName, dataset_name
from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.ledger import DEPLOYMENT, Asset, AssetKind
from airflow_mlsec.policy import CONTROLS, ORGANIZATION, Policy, line_of, load_policy
from airflow_mlsec.settings import Settings

_LOOKED_AT = {Reads.POLICY, Reads.ORGANIZATION}


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """Policy files, and those in folders; the files that stand beside policies are none.

    :raises UsageError: if something is not there, or there is no policy at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            every = [p for ending in ("*.yaml", "*.yml") for p in sorted(path.rglob(ending))]
            found += [p for p in every if p.name not in (ORGANIZATION, CONTROLS)]
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file or folder")
    if not found:
        raise UsageError(f"there is no policy in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def check_policies(
    files: Sequence[Path],
    settings: Settings,
    known: ControlSet,
    chosen: Iterable[Control],
    on: date,
) -> list[Result]:
    """What the controls that only look at policies, and at who we are, find in policy files.

    :raises PolicyError: if a file is not a policy.
    """
    declared = {path: load_policy(path) for path in files}
    names = {path: _name(policy) for path, policy in declared.items()}
    by_asset = {str(name): path for path, name in names.items()}
    facts = Facts.of_policies(
        [(names[path], policy) for path, policy in declared.items()], settings, on, known.parameters
    )
    found: list[Result] = []
    for control in chosen:
        if not ({*control.reads} <= _LOOKED_AT and control.is_valid(on)):
            continue
        why = known.why_muted(control, on)
        if isinstance(control, DatasetControl):
            for path, policy in declared.items():
                asset = Asset(AssetKind.DATASET, str(names[path]))
                # It only looks at the policy, as it says of itself.
                question = DatasetQuestion(asset, None, on, policy, cast(Dataset, None), None)
                try:
                    answer = control.answer(question)
                except Exception as error:
                    answer = crashed(error)
                found.append(_result(control, asset, answer, path, why))
        elif isinstance(control, RegisterControl):
            try:
                answers = list(control.answers(facts))
            except Exception as error:
                answers = [(DEPLOYMENT.name, crashed(error))]
            for name, answer in answers:
                asset = Asset(control.asset, name)
                found.append(_result(control, asset, answer, by_asset.get(name), why))
    return found


def _result(
    control: Control, asset: Asset, answer: Answer, path: Path | None, muted: str
) -> Result:
    if path is None:
        return Result(control, asset, answer, muted=muted)
    line = line_of(path, control.policy_key) if control.policy_key else 1
    return Result(control, asset, answer, _shown(path), line, muted)


def _shown(path: Path) -> str:
    """The path as seen from where the command runs, if it is below that."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else Path(relative).as_posix()


def _name(policy: Policy) -> DatasetName:
    try:
        return dataset_name(policy.dataset)
    except MlsecError:
        # A connection that is not known here, a template, or a connector that is not installed.
        return DatasetName("", policy.dataset)
