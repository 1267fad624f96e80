"""Controls of policy files alone: in any repository's checks, without Airflow, register or data."""

from __future__ import annotations

import os
import stat
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
from airflow_mlsec.ledger import Asset, AssetKind
from airflow_mlsec.policy import Policy, files_beside, line_of, load_policy
from airflow_mlsec.settings import Settings

_LOOKED_AT = {Reads.POLICY, Reads.ORGANIZATION}


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """Policy files, and those in folders; the files that stand beside policies are none.

    :raises UsageError: if something is not there, or there is no policy at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            every = [
                p
                for ending in ("*.yaml", "*.yml")
                for p in sorted(path.rglob(ending))
                if p not in files_beside(path)
            ]
            linked = [p for p in path.rglob("*") if p.is_symlink() and p.is_dir()]
            if linked:
                raise UsageError(
                    f"{linked[0]}: a link to a folder is not followed; give the folder itself"
                )
            found += [_regular(p, path) for p in every]
        elif path.exists():
            found.append(_regular(path, path.parent))
        else:
            raise UsageError(f"{path}: no such file or folder")
    if not found:
        raise UsageError(f"there is no policy in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def _regular(path: Path, folder: Path) -> Path:
    """A file that is what it says: a pull request may contain links to anything, and devices that never end."""
    if not (path.resolve().is_relative_to(folder.resolve()) and stat.S_ISREG(path.stat().st_mode)):
        raise UsageError(f"{path}: is no file of {folder}, but a link to another place or a device")
    return path


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
            # Once for each file: two policies may be about one dataset.
            for path, policy in declared.items():
                facts = Facts.of_policies([(names[path], policy)], settings, on, known.parameters)
                try:
                    answers = list(control.answers(facts))
                except Exception as error:
                    answers = [(str(names[path]), crashed(error))]
                for name, answer in answers:
                    of_policy = control.asset is AssetKind.DATASET
                    result = _result(
                        control,
                        Asset(control.asset, name),
                        answer,
                        path if of_policy else None,
                        why,
                    )
                    if result not in found:
                        found.append(result)
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
