from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.errors import PolicyError, UsageError
from airflow_mlsec.policy import load_policy, policy_json_schema


@click.group()
def policy() -> None:
    """Validate policies, propose them, print their JSON Schema."""


@policy.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Validate policy files (folders: every *.yaml below).

    Findings are printed as file:line:column: message. Exit code 2 if any file is not valid.
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


@policy.command()
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), help="Write the proposed policy here.")
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=50_000,
    show_default=True,
    help="Look at the first rows only.",
)
@click.option("--combinations/--no-combinations", default=True, show_default=True,
              help="Look for combinations of columns that single people out.")  # fmt: skip
@json_option
def discover(source: str, out: Path | None, rows: int, combinations: bool, as_json: bool) -> None:
    """Propose a policy for SOURCE (a dataset URI or path), with the evidence for each column.

    It weighs names, formats, check digits, vocabularies and uniqueness. A person must review the
    proposal: it states what is probable.
    """
    from airflow_mlsec.datasets import open_dataset
    from airflow_mlsec.discovery import discover as look

    found = look(open_dataset(source), rows, combinations, show_progress)
    if out is not None:
        if out.exists():
            raise UsageError(f"{out} exists; a proposal does not replace a policy")
        files.write_bytes(out, found.policy.encode())
    lines = [found.policy] if out is None else [f"{len(found.proposals)} columns proposed in {out}"]
    for single in found.singling_out[:10]:
        lines.append(
            f"# {', '.join(single.columns)}: {single.rows} rows are unique by these and by no subset of them"
        )
    show(found.to_json(), "\n".join(lines), as_json)


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
