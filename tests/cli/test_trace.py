"""`mlsec lineage trace` as people read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def event(
    source: str, target: str, fields: dict[str, list[tuple[str, list[str]]]]
) -> dict[str, Any]:
    lineage = {
        column: {
            "inputFields": [
                {"namespace": "file", "name": source, "field": field,
                 "transformations": [{"type": "INDIRECT" if t in ("FILTER", "JOIN") else "DIRECT", "subtype": t} for t in types]}
                for field, types in inputs
            ]
        }
        for column, inputs in fields.items()
    }  # fmt: skip
    return {
        "eventType": "COMPLETE", "eventTime": "2026-03-01T12:00:00Z", "producer": "p", "schemaURL": "s",
        "run": {"runId": f"{source}-{target}"}, "job": {"namespace": "n", "name": target},
        "inputs": [{"namespace": "file", "name": source}],
        "outputs": [{"namespace": "file", "name": target, "facets": {"columnLineage": {"fields": lineage}}}],
    }  # fmt: skip


def test_children_are_below_their_parents_with_all_that_was_done(
    tmp_path: Path, mlsec: Any
) -> None:
    events = [
        event("/people", "/b", {"mail": [("mail", ["FILTER", "IDENTITY"])]}),
        event("/people", "/a", {"mail": [("mail", ["TRANSFORMATION"])]}),
        event("/a", "/a2", {"hash": [("mail", ["AGGREGATION"])]}),
        event("/b", "/b2", {"hash": [("mail", ["IDENTITY"])]}),
        event("/b2", "/b3", {"x": [("hash", ["IDENTITY"])]}),
    ]
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f"{json.dumps(e)}\n" for e in events))
    assert mlsec("lineage", "ingest", path).returncode == 0
    shown = mlsec("lineage", "trace", "/people#mail", "--down").stdout
    lines = [line.replace("file:", "") for line in shown.splitlines()]
    assert lines == [
        "/people#mail goes to",
        "  /a#mail  via TRANSFORMATION",
        "    /a2#hash  via AGGREGATION",
        # What was made of it comes before what influenced it.
        "  /b#mail  via IDENTITY; FILTER",
        "    /b2#hash  via IDENTITY",
        "      /b3#x  via IDENTITY",
    ]
    up = mlsec("lineage", "trace", "/b3#x", "--up").stdout.replace("file:", "").splitlines()
    assert up == [
        "/b3#x comes from", "  /b2#hash  via IDENTITY", "    /b#mail  via IDENTITY",
        "      /people#mail  via IDENTITY; FILTER",
    ]  # fmt: skip


def test_two_names_of_one_dataset_lose_nothing(tmp_path: Path, mlsec: Any) -> None:
    first = event("/people", "/a", {"mail": [("mail", ["IDENTITY"])]})
    first["outputs"][0]["facets"]["symlinks"] = {
        "identifiers": [{"namespace": "hive", "name": "db.a", "type": "TABLE"}]
    }
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f"{json.dumps(e)}\n" for e in (first, event("/a", "/c", {"x": [("mail", ["IDENTITY"])]}))))  # fmt: skip
    assert mlsec("lineage", "ingest", path).returncode == 0
    shown = mlsec("lineage", "trace", "/people#mail", "--down").stdout
    found = json.loads(mlsec("lineage", "trace", "/people#mail", "--down", "--json").stdout)
    assert len(shown.splitlines()) == 1 + len(found[0]["nodes"])
    assert "/c#x" in shown
