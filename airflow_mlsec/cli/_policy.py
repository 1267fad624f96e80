from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.errors import CheckFailed, PolicyError, UsageError
from airflow_mlsec.policy import load_policy, loosened, policy_json_schema, require_one


@click.group()
def policy() -> None:
    """Validate, compare, approve and propose policies; print their JSON Schema."""


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
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@json_option
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Show what policy AFTER protects less than policy BEFORE. Exit code 1 if it does: such a change needs two people."""
    found = loosened(load_policy(before), load_policy(after))
    lines = [f"protects less: {key}" for key in found] or ["it protects no less"]
    show({"loosened": list(found)}, "\n".join(lines), as_json)
    if found:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@policy.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dataset", help="The dataset, if the policy is for several.")
@click.option("--why", default="", help="Why: an auditor will ask.")
@click.option("--dry-run", is_flag=True, help="Show what it changes and who has approved it.")
@json_option
def approve(file: Path, dataset: str | None, why: str, dry_run: bool, as_json: bool) -> None:
    """Approve policy FILE, which protects a dataset less than the one before, or claims that releases are anonymous. It binds when one
    of the team that owns the data and another person, who may approve, have done so."""
    from airflow_mlsec.actors import operating_system_actor
    from airflow_mlsec.datasets import open_dataset
    from airflow_mlsec.governance import approve_policy, change_of
    from airflow_mlsec.key_ring import open_register
    from airflow_mlsec.policy import load_organization
    from airflow_mlsec.settings import Settings

    settings = Settings.load()
    declared, register = load_policy(file), open_register(settings)
    name = open_dataset(dataset or require_one(declared.dataset, "give --dataset")).name
    if dry_run:
        change = change_of(register, declared, name)
    else:
        stated = load_organization(settings.organization)
        change = approve_policy(register, stated, declared, name, operating_system_actor(), why)
    lines = [
        f"{name}: policy {declared.digest[:12]} in place of {(change.instead_of or 'none')[:12]}"
    ]
    lines += [f"protects less: {key}" for key in change.looser]
    lines += ["claims that releases are anonymous"] if change.claims else []
    lines += [f"approved by {who}" for who in change.given]
    if not change.needs_approval:
        lines.append("it protects no less, and needs no approval")
    elif not change.approved:
        lines.append(
            f"not approved yet: it takes one of the team '{change.owner}' and another person who may approve"
        )
    data = {
        "dataset": str(name), "policy": declared.digest, "instead_of": change.instead_of, "loosened": list(change.looser),
        "claims_anonymity": change.claims, "owner": change.owner, "given": list(change.given), "approved": change.approved,
    }  # fmt: skip
    show(data, "\n".join(lines), as_json)


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
