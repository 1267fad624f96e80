from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from airflow_mlsec import files
from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.controls import (
    REPORTS,
    Control,
    ControlSet,
    Result,
    Severity,
    Written,
    check_dataset,
    check_policies,
    check_suite,
    policy_files,
    record_results,
    shown,
)
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, UsageError, printable
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import LANGUAGES, Asset, AssetKind, Language, Verb, as_documents, require
from airflow_mlsec.policy import ORGANIZATION, line_of, load_policy
from airflow_mlsec.settings import Settings


@click.command()
@click.argument("policies", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--policies-only", is_flag=True, help="Look at policy files alone, and at folders of them: no data, register or Airflow.")  # fmt: skip
@click.option("--controls", "own", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The organization's own file of controls; not from the change that is checked.")  # fmt: skip
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
@click.option("--format", "form", type=click.Choice(["text", "json", *REPORTS]), default="text", show_default=True)  # fmt: skip
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the report into a file.")  # fmt: skip
@click.option("--fail-on", type=click.Choice([s.value for s in Severity]), default="low", show_default=True, help="Exit code 1 from this severity on.")  # fmt: skip
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True)
@json_option
def check(
    policies: tuple[Path, ...],
    policies_only: bool,
    own: Path | None,
    dataset: str | None,
    stage: Literal["source", "release"],
    raw: str | None,
    suite: Path | None,
    record: bool,
    form: str,
    target: Path | None,
    fail_on: str,
    language: Language,
    as_json: bool,
) -> None:
    """Check a dataset against the controls of its stage, or policy files alone; exit code 1 if one fails.

    What is exempt or muted does not count. Reports: JUnit, SARIF 2.1.0 (on the line of the policy), OSCAL 1.2
    assessment results, Markdown.
    """
    settings = Settings.load()
    if policies_only:
        if dataset or raw or suite or record or stage != "source":
            raise UsageError("--policies-only looks at no data: leave out --dataset, --raw, --suite, --stage and --record")  # fmt: skip
        settings = _beside(policies, own, settings)
        known, today = ControlSet.of(settings), datetime.now(UTC).date()
        found = check_policies(policy_files(policies), settings, known, known.chosen(), today)
    elif len(policies) != 1:
        raise UsageError("one policy is checked with its data; several only with --policies-only")
    else:
        found = _of_dataset(policies[0], settings, dataset, stage, raw, suite, record)
    form = "json" if as_json and form == "text" else form
    if form in REPORTS:
        text = REPORTS[form](found, Written(datetime.now(UTC), language))
        _write(text, target)
    else:
        if target is not None:
            raise UsageError(f"--to is for reports: --format {', '.join(REPORTS)}")
        lines = [_line(result, language, policies_only) for result in found]
        show([_as_json(result, language) for result in found], "\n".join(lines), form == "json")
    if any(r.counts and r.control.severity >= Severity(fail_on) for r in found):
        raise click.exceptions.Exit(CheckFailed.exit_code)


def _beside(paths: tuple[Path, ...], own: Path | None, settings: Settings) -> Settings:
    """The settings, with organization.yaml where a folder that is checked has it: a repository's checks need no settings. Not
    so controls.yaml: whoever changes a policy does not mute what is said about it."""
    organization = [path / ORGANIZATION for path in paths if (path / ORGANIZATION).is_file()]
    return replace(
        settings,
        organization=organization[0] if organization else settings.organization,
        controls_file=own or settings.controls_file,
    )


def _of_dataset(
    path: Path,
    settings: Settings,
    dataset: str | None,
    stage: Literal["source", "release"],
    raw: str | None,
    suite: Path | None,
    record: bool,
) -> list[Result]:
    declared = load_policy(path)
    checked = open_dataset(dataset or declared.dataset)
    register = open_register(settings)
    source = open_dataset(raw) if raw else None
    known, today = ControlSet.of(settings), datetime.now(UTC).date()
    if record:
        require(
            register,
            operating_system_actor(),
            Verb.HANDLE,
            Asset(AssetKind.DATASET, str(checked.name)),
        )
    began = register.now()
    results = check_dataset(
        declared, checked, stage, raw=source, register=register, among=known.controls
    )
    if suite is not None:
        results.append(check_suite(suite, checked))
    if record:
        record_results(register, declared, checked, stage, results, None, began)
    asset = Asset(AssetKind.DATASET, str(checked.name))
    return [
        Result(
            control,
            asset,
            answer,
            str(path),
            _line_of(path, control),
            known.why_muted(control, today),
        )
        for control, answer in results
    ]


def _line_of(path: Path, control: Control) -> int:
    return line_of(path, control.policy_key) if control.policy_key else 1


def _line(result: Result, language: Language, policies_only: bool) -> str:
    place = f"{result.file or result.asset.name}:{result.line}  " if policies_only else ""
    muted = f"  (muted {result.muted})" if result.muted else ""
    return f"{place}{shown(result.answer):7} {result.control.id:20} {result.detail(language)}  ({result.control.provisions(language)}){muted}"  # fmt: skip


def _as_json(result: Result, language: Language) -> dict[str, object]:
    control = result.control
    return {
        "control": control.id,
        "title": control.title.words(language),
        "severity": control.severity.value,
        "source": control.provisions(language),
        "asset": {"kind": result.asset.kind.value, "name": result.asset.name},
        "file": result.file,
        "line": result.line,
        "outcome": result.answer.outcome.value,
        "passed": result.answer.passed,
        "muted": result.muted or None,
        "detail": result.detail(language),
        "reasons": as_documents(result.answer.reasons),
        "remedy": None if result.answer.passed else control.remedy.words(language),
    }


def _write(text: str, target: Path | None) -> None:
    if target is not None:
        files.write_bytes(target, text.encode(errors="backslashreplace"))
        click.echo(f"written: {target}", err=True)
        return
    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)
