from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.errors import CheckFailed, UsageError, printable
from airflow_mlsec.secret_scan import Exposed, scan_connections, scan_folder, scan_variables
from airflow_mlsec.transport import environment_connections, exported_connections

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def secrets() -> None:
    """Find secrets that are stored in the open."""


@secrets.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--connections", type=_FILE, help="A file that `airflow connections export FILE` wrote."
)
@click.option("--variables", type=_FILE, help="A file that `airflow variables export FILE` wrote.")
@click.option("--environment", is_flag=True, help="The connections of AIRFLOW_CONN_… variables.")
@json_option
def scan(
    folders: tuple[Path, ...],
    connections: Path | None,
    variables: Path | None,
    environment: bool,
    as_json: bool,
) -> None:
    """Scan DAG FOLDERS, connections' extras and variables for secrets. No secret is shown.

    A source line with `# pragma: allowlist secret` is skipped. Exit code 1 if any secret is found.
    """  # fmt: skip
    if not (folders or connections or variables or environment):
        raise UsageError(
            "nothing to scan: name a folder, --connections, --variables or --environment"
        )
    found: list[Exposed] = []
    for folder in folders:
        found += scan_folder(folder, show_progress)
    if connections is not None:
        found += scan_connections(exported_connections(connections))
    if environment:
        found += scan_connections(environment_connections())
    if variables is not None:
        found += scan_variables(variables)
    lines = [printable(f"{exposed.place}: {exposed.kind}") for exposed in found]
    lines.append(
        f"{len(found)} to move into a secrets backend and to replace wherever they were used"
        if found
        else "no secrets found"
    )
    show([asdict(exposed) for exposed in found], "\n".join(lines), as_json)
    if found:
        raise click.exceptions.Exit(CheckFailed.exit_code)
