from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.settings import Settings
from airflow_mlsec.transport import (
    FEWEST_DAYS,
    TIMEOUT,
    ConnectionFacts,
    Outcome,
    check_connections,
    environment_connections,
    exported_connections,
    facts_of_url,
    findings_table,
    record_findings,
)


@click.group()
def transport() -> None:
    """Check that connections are encrypted in transit."""


@transport.command()
@click.argument("conn_ids", nargs=-1)
@click.option(
    "--connections",
    "export",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that `airflow connections export FILE` wrote. Default: AIRFLOW_CONN_… variables.",
)
@click.option("--url", "urls", multiple=True, help="A URL to check as well, such as Airflow's API.")
@click.option("--ca", help="A file of certificate authorities (PEM) for connections without one.")
@click.option(
    "--days",
    type=click.IntRange(0),
    default=FEWEST_DAYS,
    show_default=True,
    help="A certificate that expires sooner fails.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=TIMEOUT,
    show_default=True,
    help="Seconds to wait for each answer.",
)
@click.option("--no-live", is_flag=True, help="Check the configuration only; open no connection.")
@click.option("--record", is_flag=True, help="Keep the results in the register.")
@json_option
def check(
    conn_ids: tuple[str, ...],
    export: Path | None,
    urls: tuple[str, ...],
    ca: str | None,
    days: int,
    timeout: float,
    no_live: bool,
    record: bool,
    as_json: bool,
) -> None:
    """Check connections (default: all that are known): does each require TLS and verify its server, and
    does the server agree: protocol, suites, chain, name, days to expiry?

    No login takes place. Exit code 1 if something failed or could not be determined.
    """  # fmt: skip
    known = exported_connections(export) if export else environment_connections()
    chosen = _chosen(known, conn_ids) + [facts_of_url(url, url) for url in urls]
    if not chosen:
        raise UsageError(
            "no connections to check: set AIRFLOW_CONN_… variables, or name a file from "
            "`airflow connections export` with --connections, or a --url"
        )
    findings = check_connections(
        chosen,
        live=not no_live,
        timeout=timeout,
        fewest_days=days,
        authorities=ca,
        progress=show_progress,
    )
    if record:
        record_findings(open_register(Settings.load()), findings, not no_live)
    show([asdict(finding) for finding in findings], findings_table(findings), as_json)
    if any(finding.outcome is not Outcome.PASSED for finding in findings):
        raise click.exceptions.Exit(CheckFailed.exit_code)


def _chosen(known: list[ConnectionFacts], conn_ids: tuple[str, ...]) -> list[ConnectionFacts]:
    by_id = {facts.conn_id: facts for facts in known}
    if unknown := [conn_id for conn_id in conn_ids if conn_id not in by_id]:
        raise UsageError(
            f"there is no connection '{unknown[0]}'; known are {', '.join(by_id) or 'none'}"
        )
    return [by_id[conn_id] for conn_id in conn_ids] if conn_ids else known
