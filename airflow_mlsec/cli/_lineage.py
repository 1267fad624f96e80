from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage import State, Trace, ingest_file
from airflow_mlsec.lineage import trace as walk
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings


@click.group()
def lineage() -> None:
    """Ingest and trace lineage."""


@lineage.command()
@click.argument("files", nargs=-1, required=True)
@json_option
def ingest(files: tuple[str, ...], as_json: bool) -> None:
    """Read OpenLineage events (NDJSON files, folders of them, or - for standard input)."""
    settings = Settings.load()
    register, trusted = Register.of(settings), VerificationKeys.of_ring(settings.key_ring)
    reports = {}
    for name in files:
        if name == "-":
            reports[name] = ingest_file(sys.stdin, register, trusted)
            continue
        path = Path(name)
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        for file in sorted(path.rglob("*.ndjson")) if path.is_dir() else [path]:
            reports[str(file)] = ingest_file(file, register, trusted)
    lines = []
    for name, report in reports.items():
        lines.append(f"{name}: {report.accepted} events kept, {report.ignored} of other kinds")
        lines += [f"{name}:{number}: {reason}" for number, reason in report.refused]
    show({name: asdict(report) for name, report in reports.items()}, "\n".join(lines), as_json)
    if any(report.refused for report in reports.values()):
        raise click.exceptions.Exit(2)


@lineage.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the datasets that the register knows."""
    import sqlalchemy as sa

    d = t.dataset.c
    rows = Register.of(Settings.load()).rows(
        sa.select(d.namespace, d.name, d.kind, d.uri, d.stage).order_by(d.namespace, d.name)
    )
    lines = [f"{row.kind:9} {row.stage or '-':8} {row.namespace}  {row.name}" for row in rows]
    show([dict(row._mapping) for row in rows], "\n".join(lines) or "none yet", as_json)


@lineage.command()
@click.argument("target", metavar="DATASET[#COLUMN]")
@click.option("--up", is_flag=True, help="Only where it comes from.")
@click.option("--down", is_flag=True, help="Only where it goes to.")
@json_option
def trace(target: str, up: bool, down: bool, as_json: bool) -> None:
    """Trace a dataset or column: where it comes from, where it goes to.

    DATASET is a URI, a full name, or the end of a name after a slash.
    """
    register = Register.of(Settings.load())
    both = up == down
    found = [walk(register, target, "up")] if up or both else []
    found += [walk(register, target, "down")] if down or both else []
    show([_plain(trace) for trace in found], "\n".join(_lines(found)), as_json)


def _plain(trace: Trace) -> dict[str, object]:
    nodes = [
        {
            "dataset": node.dataset,
            "column": node.column or None,
            "kind": node.kind,
            "state": node.state.label,
            "distance": node.distance,
            "via": node.via,
        }
        for node in trace.nodes
    ]
    return {"start": trace.start, "direction": trace.direction, "nodes": nodes}


def _lines(traces: list[Trace]) -> list[str]:
    lines = []
    for found in traces:
        lines.append(f"{found.start} {'comes from' if found.direction == 'up' else 'goes to'}")
        if not found.nodes:
            lines.append("  nothing that the register knows of")
        for node in found.nodes:
            column = f"#{node.column}" if node.column else f"  ({node.kind} as a whole)"
            state = "" if node.state is State.NONE else f"  [{node.state.label}]"
            via = f"  via {node.via}" if node.via else ""
            lines.append(f"  {'  ' * min(node.distance - 1, 8)}{node.dataset}{column}{state}{via}")
    return lines
