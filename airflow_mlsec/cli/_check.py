from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.controls import check_dataset, check_suite, record_results, shown
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import as_documents
from airflow_mlsec.policy import load_policy
from airflow_mlsec.settings import Settings


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--dataset", help="Dataset to check. Default: the policy's own `dataset`.")
@click.option(
    "--stage", type=click.Choice(["source", "release"]), default="source", show_default=True
)
@click.option("--raw", help="For a release: the source that it was made from.")
@click.option(
    "--suite",
    type=click.Path(path_type=Path),
    help="A Great Expectations suite (JSON) that the dataset must also meet; this reads the whole dataset.",
)
@click.option("--record", is_flag=True, help="Keep the results in the register.")
@json_option
def check(
    policy: Path,
    dataset: str | None,
    stage: Literal["source", "release"],
    raw: str | None,
    suite: Path | None,
    record: bool,
    as_json: bool,
) -> None:
    """Check a dataset against the controls of its stage; exit code 1 if one fails."""
    declared = load_policy(policy)
    checked = open_dataset(dataset or declared.dataset)
    register = open_register(Settings.load())
    source = open_dataset(raw) if raw else None
    results = check_dataset(declared, checked, stage, raw=source, register=register)
    if suite is not None:
        results.append(check_suite(suite, checked))
    if record:
        record_results(register, declared, checked, stage, results, None)
    data = [
        {
            "control": control.id,
            "title": control.title.words(),
            "severity": control.severity.value,
            "source": control.provisions(),
            "outcome": result.outcome.value,
            "passed": result.passed,
            "detail": str(result.words),
            "reasons": as_documents(result.reasons),
        }
        for control, result in results
    ]
    lines = [
        f"{shown(result):7} {control.id:20} {result.words}  ({control.provisions()})"
        for control, result in results
    ]
    show(data, "\n".join(lines), as_json)
    if not all(result.passed for _, result in results):
        raise click.exceptions.Exit(CheckFailed.exit_code)
