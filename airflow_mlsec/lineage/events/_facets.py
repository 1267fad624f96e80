"""Which facets the register keeps in addition to the graph, and which parts of them.

Each is reduced to names, counts and marks: minima, maxima, quantiles, samples, documentation
and error messages can quote the data, so they are never kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST = 500
# Text between quotes, text that looks like an address, or a longer number may be somebody's data.
_LITERAL = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.)*"?|\$\$.*?\$\$|[^\s'"]+@[^\s'"]+|\b\d[\d.,:/+-]{3,}\b""",
    re.DOTALL,
)


def without_literals(text: str) -> str:
    """The text, with everything blanked out that can quote the data."""
    return _LITERAL.sub("'…'", text)


_MOST = 1_000
_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){1,3}(?:[.+-][A-Za-z][A-Za-z0-9.]{0,30})?")


def _ownership(facet: Mapping[str, Any]) -> Any:
    return {"owners": _rows(facet.get("owners"), ("name", "type"))}


def _tags(facet: Mapping[str, Any]) -> Any:
    return {"tags": _rows(facet.get("tags"), ("key", "value", "source", "field"))}


def _quality_metrics(facet: Mapping[str, Any]) -> Any:
    columns = facet.get("columnMetrics")
    counted = {
        str(_plain(name)): _numbers(metrics, ("nullCount", "distinctCount", "count"))
        for name, metrics in list(columns.items())[:_MOST]
    } if isinstance(columns, Mapping) else {}  # fmt: skip
    found = _numbers(facet, ("rowCount", "bytes", "fileCount"))
    return {**found, **({"columns": counted} if counted else {})}


def _assertions(facet: Mapping[str, Any]) -> Any:
    named = ("assertion", "success", "column", "severity")
    return {"assertions": _rows(facet.get("assertions"), named)}


def _statistics(facet: Mapping[str, Any]) -> Any:
    return _numbers(facet, ("rowCount", "size", "fileCount"))


def _storage(facet: Mapping[str, Any]) -> Any:
    return _texts(facet, ("storageLayer", "fileFormat"))


def _source(facet: Mapping[str, Any]) -> Any:
    return _texts(facet, ("name",))


def _job_type(facet: Mapping[str, Any]) -> Any:
    return _texts(facet, ("processingType", "integration", "jobType"))


def _engine(facet: Mapping[str, Any]) -> Any:
    versions = {
        key: value
        for key in ("version", "openlineageAdapterVersion")
        if isinstance(value := facet.get(key), str) and _VERSION.fullmatch(value)
    }
    return {**_texts(facet, ("name",)), **versions}


Reduce = Callable[[Mapping[str, Any]], Any]

DATASET_FACETS: dict[str, Reduce] = {
    "ownership": _ownership,
    "tags": _tags,
    "dataQualityMetrics": _quality_metrics,
    "dataQualityAssertions": _assertions,
    "outputStatistics": _statistics,
    "inputStatistics": _statistics,
    "storage": _storage,
    "dataSource": _source,
    "datasetType": lambda facet: _texts(facet, ("datasetType", "subType")),
}
JOB_FACETS: dict[str, Reduce] = {"ownership": _ownership, "tags": _tags, "jobType": _job_type}
RUN_FACETS: dict[str, Reduce] = {"processing_engine": _engine, "tags": _tags}


def _rows(items: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        return []
    found = []
    for item in items[:_MOST]:
        if isinstance(item, Mapping):
            row = {k: v for k in keys if (v := _plain(item.get(k))) is not None}
            found.append(row)
    return found


def _texts(facet: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k in keys if (v := _plain(facet.get(k))) is not None}


def _numbers(facet: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(facet, Mapping):
        return {}
    return {
        k: v
        for k in keys
        if isinstance(v := facet.get(k), (int, float))
        and not isinstance(v, bool)
        and -(2**63) <= v < 2**63
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        # What cannot be stored as UTF-8 or by PostgreSQL's JSON is left out of the text.
        text = value[:_LONGEST].encode("utf-8", "replace").decode()
        return without_literals(text.replace("\0", ""))
    return None
