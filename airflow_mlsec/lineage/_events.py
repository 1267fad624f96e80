"""Reading OpenLineage events as plain data (https://openlineage.io/spec).

Only what the graph needs is read; facets that are unknown or malformed in themselves are
passed over, while an event without a job or run is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_mlsec.errors import UsageError

_STATES = {
    "START": "running",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "FAIL": "failed",
    "ABORT": "aborted",
    "OTHER": "running",
}


@dataclass(frozen=True)
class ColumnEdge:
    """A column of the output depends on a column of the input.

    ``target`` is None where the input influences the whole output (filters, joins, models).
    """

    namespace: str
    name: str
    source: str
    target: str | None
    kind: str
    transformation: str | None


@dataclass(frozen=True)
class EventDataset:
    """One input or output of an event."""

    namespace: str
    name: str
    columns: tuple[tuple[str, str | None], ...]
    edges: tuple[ColumnEdge, ...]
    facets: Mapping[str, Any]


@dataclass(frozen=True)
class RunEvent:
    """A run event, reduced to what the register keeps."""

    job: tuple[str, str]
    run: str
    state: str
    time: str
    parent: str | None
    inputs: tuple[EventDataset, ...]
    outputs: tuple[EventDataset, ...]


def read_run_event(event: Any) -> RunEvent | None:
    """The event, or None if it is of another kind (dataset or job event).

    :raises UsageError: if it is not an OpenLineage event.
    """
    if not isinstance(event, Mapping):
        raise UsageError("an OpenLineage event is a JSON object")
    if "run" not in event:
        if "job" in event or "dataset" in event:
            return None
        raise UsageError("not an OpenLineage event: it has neither run, job nor dataset")
    try:
        facets = event["run"].get("facets") or {}
        parent = ((facets.get("parent") or {}).get("run") or {}).get("runId")
        return RunEvent(
            job=(_text(event["job"]["namespace"]), _text(event["job"]["name"])),
            run=_text(event["run"]["runId"]),
            state=_STATES.get(str(event.get("eventType", "OTHER")).upper(), "running"),
            time=_time(event["eventTime"]),
            parent=parent if isinstance(parent, str) else None,
            inputs=tuple(_datasets(event.get("inputs"))),
            outputs=tuple(_datasets(event.get("outputs"))),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"malformed OpenLineage run event ({type(error).__name__})") from None


def canonical_namespace(namespace: str) -> str:
    """One spelling for the local filesystem, which clients spell in several ways."""
    return "file" if namespace.rstrip("/") in ("file:", "file", "file://localhost") else namespace


def canonical_name(namespace: str, name: str) -> str:
    """One spelling for a local path."""
    local = canonical_namespace(namespace) == "file" and name.startswith("/")
    return os.path.normpath(name) if local else name


def _datasets(items: Any) -> Iterator[EventDataset]:
    for item in items or ():
        facets = item.get("facets") or {}
        yield EventDataset(
            namespace=canonical_namespace(_text(item["namespace"])),
            name=canonical_name(_text(item["namespace"]), _text(item["name"])),
            columns=tuple(_columns(facets.get("schema"))),
            edges=tuple(_edges(facets.get("columnLineage"))),
            facets=facets,
        )


def _columns(facet: Any) -> Iterator[tuple[str, str | None]]:
    for field in _list(facet, "fields"):
        name, kind = field.get("name"), field.get("type")
        if isinstance(name, str) and name:
            yield _text(name), _text(kind) if isinstance(kind, str) and kind else None


def _edges(facet: Any) -> Iterator[ColumnEdge]:
    fields = facet.get("fields") if isinstance(facet, Mapping) else None
    for target, lineage in fields.items() if isinstance(fields, Mapping) else ():
        if not isinstance(lineage, Mapping) or not target:
            continue
        # Up to 1.1 of the facet the transformation stood on the output field.
        old = lineage.get("transformationDescription") or lineage.get("transformationType")
        for source in _list(lineage, "inputFields"):
            yield from _edge(source, target, old)
    for source in _list(facet, "dataset"):
        yield from _edge(source, None, None)


def _edge(source: Any, target: str | None, old: str | None) -> Iterator[ColumnEdge]:
    names = [source.get(key) for key in ("namespace", "name", "field")]
    if not all(isinstance(name, str) and name for name in names):
        return
    namespace, name, field = (_text(n) for n in names)
    steps = [s for s in _list(source, "transformations") if isinstance(s, Mapping)]
    said = [str(s.get("description") or s.get("subtype") or s.get("type") or "") for s in steps]
    indirect = target is None or (
        bool(steps) and all(str(s.get("type")).upper() == "INDIRECT" for s in steps)
    )
    text = "; ".join(s for s in said if s) or (str(old) if old else None)
    yield ColumnEdge(
        canonical_namespace(namespace),
        canonical_name(namespace, name),
        field,
        _text(target) if target is not None else None,
        "indirect" if indirect else "direct",
        _text(text) if text else None,
    )


def _list(facet: Any, key: str) -> list[Any]:
    items = facet.get(key) if isinstance(facet, Mapping) else None
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    value.encode()  # a lone surrogate cannot be stored
    return value


def _time(value: Any) -> str:
    """The time in UTC as the register writes it, so that times compare as text."""
    time = datetime.fromisoformat(_text(value))
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
