from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.errors import CheckFailed, UsageError, printable
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.ledger import DEPLOYMENT, Verb, api_key_named, require
from airflow_mlsec.lineage import (
    HeldEvent,
    Ingest,
    IngestReport,
    Quarantine,
    Received,
    State,
    Trace,
    TraceNode,
    deliver,
    events_of,
    forget_client,
    lines_of,
)
from airflow_mlsec.lineage import trace as walk
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings


@click.group()
def lineage() -> None:
    """Ingest, trace, query and export lineage."""


def _ingest() -> tuple[Ingest, Quarantine]:
    settings = Settings.load()
    register = open_register(settings)
    quarantine = Quarantine(register, partial(open_key_ring, settings, register))
    trusted = trusted_keys(settings)
    return Ingest(register, trusted, quarantine), quarantine


def _raw(files: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for name in files:
        if name == "-":
            yield from lines_of(sys.stdin.buffer, "standard input")
        else:
            yield from events_of(Path(name))


@lineage.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--batch", default=1000, show_default=True, help="Events per transaction.")
@json_option
def ingest(files: tuple[str, ...], batch: int, as_json: bool) -> None:
    """Read OpenLineage events: NDJSON or JSON files, folders of them, or - for standard input.

    Events that are malformed are kept in quarantine with the reason; the exit code is then 2.
    """
    if batch < 1:
        raise UsageError("--batch is at least 1")
    for name in files:
        if name != "-" and not Path(name).exists():
            raise UsageError(f"{name}: no such file or folder")
    # Events are trees and are freed without the collector, which would visit every remembered name.
    gc.disable()
    done, _ = _ingest()
    report = done.write(_raw(files), lambda count: show_progress(f"{count} events"), batch)
    _show_report(report, as_json)


@lineage.command("deliver")
@json_option
def deliver_(as_json: bool) -> None:
    """Send events that tasks could not send while the register was unavailable, also those of other
    workers if [mlsec] shared_folder is shared. Every search for a person starts with this."""
    done, _ = _ingest()
    _show_report(deliver(Settings.load(), done), as_json)


def _show_report(report: IngestReport, as_json: bool) -> None:
    lines = [f"{report.accepted} events kept, {len(report.refused)} in quarantine"]
    lines += [f"{source}: {reason}" for source, reason in report.refused]
    show(asdict(report), "\n".join(lines), as_json)
    if report.refused:
        raise click.exceptions.Exit(UsageError.exit_code)


@lineage.command()
@click.option("--retry", is_flag=True, help="Try all held events again.")
@click.option("--show", "shown", type=int, help="Print one event's content, as it was received.")
@click.option("--discard", type=int, help="Discard one event; its content is erased.")
@json_option
def quarantine(retry: bool, shown: int | None, discard: int | None, as_json: bool) -> None:
    """List events that could not be read, with the reason; show, retry or discard them."""
    done, held = _ingest()
    if shown is not None:
        content = held.content(shown).decode(errors="replace")
        # As it was received, unless a terminal would act on it.
        click.echo(printable(content) if sys.stdout.isatty() else content)
        return
    if discard is not None:
        me = operating_system_actor()
        require(open_register(Settings.load()), me, Verb.SETTLE, DEPLOYMENT)
        held.settle(discard, "discarded")
    if retry:
        report = IngestReport()
        for event in held.held():
            accepted = report.accepted
            done.write_received(_received(event, held.content(event.id)), report)
            if report.accepted > accepted:
                held.settle(event.id, "applied")
        _show_report(report, as_json)
        return
    found = held.held()
    lines = [
        f"{event.id:5}  {event.received_at[:19]}  {event.source}: {event.reason}" for event in found
    ]
    show([asdict(event) for event in found], "\n".join(lines) or "nothing in quarantine", as_json)


def _received(event: HeldEvent, content: bytes) -> tuple[str, bytes] | Received:
    """An event of the quarantine as it was received: what its client may send about holds for it still."""
    if event.client is None:
        return event.source, content
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    key = api_key_named(open_register(Settings.load()), event.client)
    namespaces = key.namespaces if key is not None else ()
    return Received(event.client, namespaces, event.source, content, document)


@lineage.command()
@click.option("--client", required=True, help="The name of the API key with which it was sent.")
@click.option("--since", help="Only what was received from this date or time on (ISO 8601, UTC).")
@click.option("--dry-run", is_flag=True, help="Count what would be forgotten, and change nothing.")
@json_option
def forget(client: str, since: str | None, dry_run: bool, as_json: bool) -> None:
    """Take back the lineage that only one client has sent over HTTP.

    The graph becomes what it would be without it, except that names of datasets and columns stay
    listed. Runs that somebody else reported too stay, and are counted. The key is not revoked.
    """
    register = open_register(Settings.load())
    moment = None if since is None else _utc(since)
    found = forget_client(register, client, operating_system_actor(), moment, dry_run)
    would = "would be " if dry_run else ""
    lines = [
        f"{would}forgotten: {found.runs} runs, {found.edges} edges, {found.names} names of datasets, "
        f"{found.changes} changes of datasets, {found.facets} facets, {found.held} events in quarantine"
    ]
    if found.runs_left:
        lines.append(f"{found.runs_left} runs stay: somebody else reported them too, or the client did before")  # fmt: skip
    if not dry_run:
        lines.append(
            f"this does not end the API key: `mlsec lineage api-key {client} --revoke` does"
        )
    show(asdict(found), "\n".join(lines), as_json)


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since is a date or time such as 2026-03-01T12:00, not '{text}'"
        ) from None
    return (
        (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        .astimezone(UTC)
        .strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    )


@lineage.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the datasets that the register knows."""
    import sqlalchemy as sa

    d = t.dataset.c
    rows = open_register(Settings.load()).rows(
        sa.select(d.namespace, d.name, d.kind, d.uri, d.stage).order_by(d.namespace, d.name)
    )
    lines = [f"{row.kind:9} {row.stage or '-':8} {row.namespace}  {row.name}" for row in rows]
    show([dict(row._mapping) for row in rows], "\n".join(lines) or "none yet", as_json)


@lineage.command()
@click.argument("target", metavar="DATASET[#COLUMN]")
@click.option("--up", is_flag=True, help="Only where it comes from.")
@click.option("--down", is_flag=True, help="Only where it goes to.")
@click.option("--as-of", help="What was known at a date or time (ISO 8601).")
@json_option
def trace(target: str, up: bool, down: bool, as_of: str | None, as_json: bool) -> None:
    """Trace a dataset or column: where it comes from, where it goes to.

    DATASET is a URI, a full name, or the end of a name after a slash.
    """
    register = open_register(Settings.load())
    both = up == down
    found = [walk(register, target, "up", as_of)] if up or both else []
    found += [walk(register, target, "down", as_of)] if down or both else []
    show([_plain(trace) for trace in found], "\n".join(_lines(found)), as_json)


@lineage.command()
@click.argument("category")
@json_option
def holds(category: str, as_json: bool) -> None:
    """List the datasets that hold a category of data (Fideslang), such as user.contact.email.

    A category includes those below it: user.contact includes user.contact.email.
    """
    from airflow_mlsec.lineage import holders

    found = holders(open_register(Settings.load()), category)
    lines = [
        f"{h.dataset}{f'#{h.column}' if h.column else ''}  [{h.state.label}]  "
        f"{f'declared {h.declared}' if h.declared else f'via {h.via}'}"
        for h in found
    ]
    data = [{**asdict(h), "state": h.state.label} for h in found]
    show(data, "\n".join(lines) or "no dataset that the register knows of", as_json)


@lineage.command()
@click.argument("target", metavar="DATASET")
@json_option
def reaching(target: str, as_json: bool) -> None:
    """List the personal columns that reach a model or dataset."""
    from airflow_mlsec.lineage import columns_reaching

    found = columns_reaching(open_register(Settings.load()), target)
    lines = [f"{node.dataset}#{node.column}  [{node.state.label}]" for node in found]
    text = "\n".join(lines) or "no personal column that the register knows of"
    show([_node(node) for node in found], text, as_json)


@lineage.command()
@click.option("--since", required=True, help="A date or time (ISO 8601).")
@json_option
def changes(since: str, as_json: bool) -> None:
    """List what the lineage has learned since a time: datasets, edges, drops, renames."""
    from airflow_mlsec.lineage import changes_since

    found = changes_since(open_register(Settings.load()), since)
    lines = [f"{c.at[:19]}  {c.what:9} {c.dataset}: {c.detail}" for c in found]
    show([asdict(c) for c in found], "\n".join(lines) or "nothing", as_json)


@lineage.command()
@click.option("--airflow-url", required=True, help="Where Airflow's API server is.")
@click.option("--user", help="Airflow user; the password is read from MLSEC_AIRFLOW_PASSWORD.")
@click.option("--since", help="Only runs that started since (ISO 8601).")
@json_option
def dark(airflow_url: str, user: str | None, since: str | None, as_json: bool) -> None:
    """List Airflow task runs that touched personal data but sent no lineage. Exit code 1 if any.

    Signs in with the bearer token in MLSEC_AIRFLOW_TOKEN, or as --user.
    """
    from airflow_mlsec.lineage import AirflowApi, dark_list

    token, password = (os.environ.get(f"MLSEC_AIRFLOW_{n}") for n in ("TOKEN", "PASSWORD"))
    if user and password:
        api = AirflowApi.sign_in(airflow_url, user, password)
    elif token:
        api = AirflowApi(airflow_url, token)
    else:
        raise UsageError("set MLSEC_AIRFLOW_TOKEN, or give --user and set MLSEC_AIRFLOW_PASSWORD")
    register = open_register(Settings.load())
    found = dark_list(register, api.task_runs(since), api.assets_of_tasks())
    lines = [
        f"{d.run.dag_id}.{d.run.task_id} in {d.run.run_id} ({d.run.state}): touches "
        f"{', '.join(d.datasets)}, known from {d.known_from}"
        for d in found.dark
    ]
    lines.append(
        f"{len(found.dark)} of {found.touching} task runs that touched personal data sent no lineage"
    )
    show(asdict(found), "\n".join(lines), as_json)
    if found.dark:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@lineage.command()
@click.argument("target", metavar="FILE|-", default="-")
def export(target: str) -> None:
    """Write the whole graph as OpenLineage events, one per line (NDJSON)."""
    from airflow_mlsec import files
    from airflow_mlsec.lineage import export_events

    events = export_events(open_register(Settings.load()))
    if target == "-":
        for line in events:
            click.echo(line)
        return
    with files.replacing(Path(target)) as file:
        for line in events:
            file.write(f"{line}\n".encode())


@lineage.command("api-key")
@click.argument("name")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="A namespace of jobs or datasets that its events may be about; a star at the end stands for whatever "
    "follows. May be repeated; default is any namespace.",
)
@click.option(
    "--days", type=click.IntRange(1), default=365, show_default=True, help="When it expires."
)
@click.option(
    "--events-per-hour",
    type=click.IntRange(1),
    help="Most events in an hour; default is any number.",
)
@click.option("--revoke", is_flag=True, help="Refuse the key from now on.")
@json_option
def api_key(
    name: str,
    namespaces: tuple[str, ...],
    days: int,
    events_per_hour: int | None,
    revoke: bool,
    as_json: bool,
) -> None:
    """Create an API key with which a client may send events over HTTP; it is shown once."""
    from airflow_mlsec.ledger import create_api_key, revoke_api_key

    register, by = open_register(Settings.load()), operating_system_actor()
    if revoke:
        revoke_api_key(register, name, by)
        show({"name": name, "revoked": True}, f"{name}: revoked", as_json)
        return
    secret = create_api_key(register, name, by, namespaces, days, events_per_hour)
    show({"name": name, "key": secret}, secret, as_json)


def _plain(trace: Trace) -> dict[str, object]:
    nodes = [_node(node) for node in trace.nodes]
    return {"start": trace.start, "direction": trace.direction, "nodes": nodes}


def _node(node: TraceNode) -> dict[str, object]:
    plain = {**asdict(node), "column": node.column or None, "state": node.state.label}
    del plain["dataset_id"]
    return plain


def _lines(traces: list[Trace]) -> list[str]:
    lines = []
    for found in traces:
        lines.append(f"{found.start} {'comes from' if found.direction == 'up' else 'goes to'}")
        if not found.nodes:
            lines.append("  nothing that the register knows of")
        lines += [f"  {'  ' * depth}{_line(node)}" for node, depth in _as_tree(found.nodes)]
    return lines


def _as_tree(nodes: Sequence[TraceNode]) -> Iterator[tuple[TraceNode, int]]:
    """Each node below the one that it was reached from, with its depth."""
    by_name: dict[str, TraceNode] = {}
    for node in nodes:
        for name in (node.dataset, *node.aliases):
            by_name.setdefault(f"{name}#{node.column}" if node.column else name, node)
    below: dict[int, list[TraceNode]] = {}
    for node in nodes:
        parent = by_name.get(node.step or "")
        below.setdefault(id(parent) if parent is not None and parent is not node else 0, []).append(node)  # fmt: skip
    done: set[int] = set()

    def walk_from(start: int, depth: int) -> Iterator[tuple[TraceNode, int]]:
        todo = [(node, depth) for node in reversed(below.get(start, []))]
        while todo:
            node, level = todo.pop()
            if id(node) not in done:
                done.add(id(node))
                yield node, level
                todo += [(child, level + 1) for child in reversed(below.get(id(node), []))]

    yield from walk_from(0, 0)
    # Names of one dataset may make each the other's parent: nothing that was found is left out.
    for node in nodes:
        if id(node) not in done:
            done.add(id(node))
            yield node, 0
            yield from walk_from(id(node), 1)


def _line(node: TraceNode) -> str:
    column = f"#{node.column}" if node.column else f"  ({node.kind} as a whole)"
    state = "" if node.state is State.NONE else f"  [{node.state.label}]"
    via = f"  via {node.via}" if node.via else ""
    gone = f"  ({node.gone})" if node.gone else ""
    also = f"  (also {', '.join(node.aliases)})" if node.aliases else ""
    return f"{node.dataset}{column}{state}{via}{gone}{also}"
