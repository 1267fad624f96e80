"""Readers for the parts of events: names, texts, times, each checked."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from airflow_mlsec.datasets import canonical_key, canonical_path, canonical_store, is_store
from airflow_mlsec.lineage.events._events import Malformed, Name
from airflow_mlsec.lineage.events._facets import without_literals

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ZONE_NAME = re.compile(r"\[[A-Za-z0-9_+/-]{1,64}\]$")
_LEAP_SECOND = re.compile(r"(T\d\d:\d\d:)60")
NAMELESS = "(no name)"

# A B-tree of PostgreSQL holds keys of 2,700 bytes at most, namespace and name together.
LONGEST_NAME = 2_100
LONGEST_NAMESPACE = 500


def canonical_namespace(namespace: str) -> str:
    """One spelling for the local filesystem and for object stores, which clients spell in several ways."""
    if namespace.rstrip("/") in ("file:", "file", "file://localhost"):
        return "file"
    return canonical_store(namespace)


def canonical_name(namespace: str, name: str) -> str:
    """One spelling for a local path, and for the key of an object or of what lies below it."""
    namespace = canonical_namespace(namespace)
    if namespace == "file":
        return canonical_path(name) if name.startswith("/") else name
    return canonical_key(name) if is_store(namespace) else name


@lru_cache(maxsize=65_536)
def canonical(namespace: Any, name: Any) -> Name:
    if not isinstance(namespace, str) or not isinstance(name, str):
        raise Malformed.at("a dataset's namespace and name", "text")
    if not namespace and not name:
        raise Malformed.at("a dataset's namespace and name", "text that is not empty")
    # Some producers leave one of them empty, and the specification does not forbid it.
    checked(namespace or "-", "a dataset's namespace", LONGEST_NAMESPACE)
    checked(name or "-", "a dataset's name")
    return canonical_namespace(namespace), canonical_name(namespace, name)


def dataset_name(item: Mapping[str, Any], place: str) -> Name:
    try:
        return canonical(item.get("namespace"), item.get("name"))
    except TypeError:
        raise Malformed.at(f"{place}.namespace and .name", "text") from None


def job_name(job: Any) -> Name:
    job = mapping(job, "job")
    namespace = text_of(job.get("namespace"), "job.namespace", LONGEST_NAMESPACE)
    return namespace, text_of(job.get("name"), "job.name")


def run_id(item: Mapping[str, Any], place: str = "lineage.runId") -> str:
    found = item.get("runId")
    return "" if found is None else run_name(found, place)


def run_name(value: Any, place: str) -> str:
    """A run's identifier; a UUID has one spelling (RFC 9562)."""
    text = text_of(value, place)
    return text.lower() if _UUID.fullmatch(text) else text


def other_run(job: Name, run: str) -> str:
    text = json.dumps(job)
    return run or f"declared:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"


def kept_facets(
    facets: Mapping[str, Any], kept: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, facet in facets.items():
        reduce = kept.get(name)
        if reduce is None:
            continue
        if name == "tags" and isinstance(facet, list):
            facet = {"tags": facet}  # as in the specification's own examples
        if isinstance(facet, dict):
            if facet.get("_deleted"):
                found[name] = {}
            elif reduced := reduce(facet):
                found[name] = reduced
    return found


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed.at(place, "an object")
    return value


def objects(facet: Mapping[str, Any], key: str, place: str) -> list[Mapping[str, Any]]:
    items = facet.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed.at(f"{place}.{key}", "a list of objects")
    return items


def text_of(value: Any, place: str, longest: int = LONGEST_NAME) -> str:
    if not isinstance(value, str):
        raise Malformed.at(place, "text")
    return checked(value, place, longest)


def checked(text: str, place: str, longest: int = LONGEST_NAME) -> str:
    if not text:
        raise Malformed.at(place, "text that is not empty")
    if "\0" in text:
        raise Malformed.at(place, "text without NUL characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate cannot be stored
        raise Malformed.at(place, "valid Unicode") from None
    if size > longest:
        raise Malformed.at(place, f"at most {longest} bytes of UTF-8")
    return text


@lru_cache(maxsize=65_536)
def column_name(text: Any) -> str:
    if not isinstance(text, str):
        raise Malformed.at("a column's name", "text")
    # The specification does not forbid an empty name.
    return checked(text, "a column's name") if text else NAMELESS


def short_text(text: Any) -> str | None:
    """A description without literals, which may be personal, and of bounded length."""
    if not isinstance(text, str) or not text or not is_plain(text):
        return None
    return without_literals(text[:2_000])[:300]


def is_plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


@lru_cache(maxsize=4_096)
def time_of(value: Any) -> str:
    """The time in UTC as the register writes it, so that times compare as text."""
    if not isinstance(value, str):
        raise Malformed.at("a time", "an ISO 8601 text such as 2026-03-01T12:00:00Z")
    # RFC 3339 allows small letters and leap seconds; Java's clients add a zone's name.
    text = _ZONE_NAME.sub("", value).upper()
    text = _LEAP_SECOND.sub(r"\g<1>59", text)
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed.at("a time", "an ISO 8601 text such as 2026-03-01T12:00:00Z") from None
    # A year below 1000 would lose its leading zeros in strftime on some platforms.
    return f"{time.year:04}-{time:%m-%dT%H:%M:%S.%f}Z"
