"""OpenLineage events, made by hand as clients send them."""

from __future__ import annotations

import uuid
from typing import Any


def dataset(
    name: str, columns: tuple[str, ...] | list[str] = (), namespace: str = "file", **facets: Any
) -> dict[str, Any]:
    if columns:
        facets["schema"] = {"fields": [{"name": c, "type": "string"} for c in columns]}
    return {"namespace": namespace, "name": name, "facets": facets}


def lineage(source: str, columns: dict[str, list[str]], **step: Any) -> dict[str, Any]:
    step = {"type": "DIRECT", "subtype": "IDENTITY", **step}
    return {
        "fields": {
            target: {
                "inputFields": [
                    {"namespace": "file", "name": source, "field": f, "transformations": [step]}
                    for f in fields
                ]
            }
            for target, fields in columns.items()
        }
    }


def event(
    job: str,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    kind: str = "COMPLETE",
    run: str | None = None,
    time: str = "2026-03-01T12:00:00Z",
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": time,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run or str(uuid.uuid5(uuid.NAMESPACE_URL, job))},
        "job": {"namespace": "test", "name": job},
        "inputs": inputs,
        "outputs": outputs,
    }
