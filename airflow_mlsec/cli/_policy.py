from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy import load_policy, policy_json_schema


@click.group()
def policy() -> None:
    """Validate policies; print their JSON Schema."""


@policy.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Validate policy files (folders: every *.yaml below).

    Findings are file:line:column: message. Exit code 2 if any file is not valid.
    """
    results: list[dict[str, Any]] = []
    for path in _files(files):
        try:
            read = load_policy(path)
            results.append({"file": str(path), "valid": True, "columns": len(read.columns),
                            "digest": read.digest})  # fmt: skip
        except PolicyError as error:
            results.append({"file": str(path), "valid": False, "errors": str(error).splitlines()})
    lines: list[str] = []
    for result in results:
        if not result["valid"]:
            lines += result["errors"]
            continue
        lines.append(f"{result['file']}: valid, {result['columns']} columns")
    show(results, "\n".join(lines), as_json)
    if not all(result["valid"] for result in results):
        raise click.exceptions.Exit(PolicyError.exit_code)


@policy.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    click.echo(json.dumps(policy_json_schema(), indent=2))


def _files(paths: tuple[Path, ...]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml"))
        else:
            found.append(path)
    if not found:
        raise PolicyError("no policy file found: no *.yaml in the folders given")
    return found
