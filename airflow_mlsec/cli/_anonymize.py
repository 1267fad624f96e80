from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, Literal

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import json_option, show, show_progress


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("source")
@click.argument("target")
@click.option("--plan", type=click.Path(path_type=Path), help="Apply this signed plan; do not fit.")
@click.option("--plan-out", type=click.Path(path_type=Path), help="Save the signed plan here.")
@click.option("--report", type=click.Path(path_type=Path), help="Save the JSON report here.")
@click.option("--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True,
              help="Where rows are counted and transformed.")  # fmt: skip
@click.option("--purpose", help="What the release is for: one of the policy's purposes.")
@click.option("--dry-run", is_flag=True, help="Do everything except write the output.")
@click.option("--allow-empty", is_flag=True, help="Publish a release without any row.")
@json_option
def anonymize(
    policy: Path,
    source: str,
    target: str,
    plan: Path | None,
    plan_out: Path | None,
    report: Path | None,
    engine: Literal["local", "spark"],
    purpose: str | None,
    dry_run: bool,
    allow_empty: bool,
    as_json: bool,
) -> None:
    """Anonymize SOURCE into TARGET (dataset URIs or paths) as POLICY says.

    The output is staged, verified by an independent checker and only then published; the
    register gets the signed evidence.
    """
    from airflow_mlsec.anonymize import Plan, RegisterVault, Release
    from airflow_mlsec.anonymize import anonymize as run
    from airflow_mlsec.datasets import open_artifact, open_dataset
    from airflow_mlsec.key_ring import open_key_ring, open_register
    from airflow_mlsec.lineage import begin_release, end_release, require_binding
    from airflow_mlsec.policy import load_policy
    from airflow_mlsec.register import requests_done
    from airflow_mlsec.settings import Settings
    from airflow_mlsec.subjects import refuse_if_more_is_left_out, without_suppressed

    settings = Settings.load()
    declared = load_policy(policy)
    declared.require_purpose(purpose)
    register = open_register(settings)
    keys = open_key_ring(settings, register)
    given = Plan.load(plan, keys.verification_keys()) if plan else None
    raw, safe = open_dataset(source), open_dataset(target)
    require_binding(register, declared, raw.name)
    requests = register.read(requests_done)
    raw = without_suppressed(raw, declared, register, keys)
    intents = []

    def announce(release: Release, released: tuple[Any, str | None]) -> None:
        refuse_if_more_is_left_out(raw)
        result = release.result(None, purpose)
        intents.append(
            begin_release(register, keys, declared, raw, safe, released, result, requests)
        )

    release = run(
        declared,
        raw,
        safe,
        keys,
        plan=given,
        plan_path=plan_out,
        membership_path=open_artifact(f"{settings.shared_folder}/members/{uuid.uuid4().hex}.age"),
        vault=RegisterVault(register, keys, requests),
        population=open_dataset(people) if (people := declared.privacy.population) else None,
        engine=engine,
        dry_run=dry_run,
        progress=show_progress,
        announce=announce,
        allow_empty=allow_empty,
    )
    for intent in intents:
        end_release(register, intent)
    if report:
        files.write_bytes(report, f"{json.dumps(release.report(), indent=2)}\n".encode())
    done = "would be released" if dry_run else "released"
    k, counted = release.smallest, "persons" if declared.subject else "rows"
    text = (
        f"{release.released} of {release.rows} rows {done}, {release.suppressed} suppressed; "
        f"{f'smallest class {k} {counted}; ' if k else ''}"
        f"{sum(f.passed for f in release.findings)} checks passed"
    )
    if out := getattr(raw, "rows_left_out", 0):
        text += f"; {out} rows of people who were erased or restricted it were left out before"
    show(release.report(), text, as_json)
