"""A policy for several datasets of one kind: day partitions (``orders/{{ ds }}``), globs (``orders/*.parquet``)."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from airflow_mlsec.errors import UsageError
from airflow_mlsec.naming import SAME_STORES

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_GLOB = re.compile(r"\*\*|\*|\?|\[[^\]/]+\]")


def is_pattern(dataset: str) -> bool:
    """Whether a policy's ``dataset`` covers several: it contains an Airflow template or a wildcard."""
    return _TEMPLATE.search(dataset) is not None or _GLOB.search(dataset) is not None


def is_template(dataset: str) -> bool:
    """Whether a policy's ``dataset`` contains an Airflow template, which a task's context fills."""
    return _TEMPLATE.search(dataset) is not None


def require_one(dataset: str, ask: str) -> str:
    """The ``dataset`` of a policy, if it names exactly one.

    :raises UsageError: if it is a pattern; ``ask`` says what to give instead.
    """
    if is_pattern(dataset):
        raise UsageError(f"the policy's `dataset` ({dataset}) names many: {ask}")
    return dataset


def matches(dataset: str, name: str) -> bool:
    """Whether a policy's ``dataset`` covers a dataset of this name (a path, or a URI without the connection).

    A template matches text without ``/``, as ``*`` and ``?`` do; ``**`` matches any number of
    folders, including none.
    """
    return name == dataset or _compiled(dataset).fullmatch(name.rstrip("/")) is not None


# What the most common Airflow templates render to.
_DATES = {
    "ds": r"\d{4}-\d{2}-\d{2}",
    "ds_nodash": r"\d{8}",
    "ts": r"\d{4}-\d{2}-\d{2}T[^/]+",
    "ts_nodash": r"\d{8}T\d{6}",
    "ts_nodash_with_tz": r"\d{8}T\d{6}[^/]*",
}


@lru_cache(maxsize=1_024)
def _compiled(dataset: str) -> re.Pattern[str]:
    scheme, found, rest = dataset.partition("://")
    if not found:
        text = dataset if dataset.startswith("/") else f"{Path.cwd()}/{dataset}"
    elif scheme == "file":
        text = unquote(rest)
    else:
        scheme = SAME_STORES.get(scheme, scheme)
        at = rest.split("/", 1)[0].rpartition("@")[0] if scheme in ("s3", "gs") else ""
        text = f"{scheme}://{rest.removeprefix(f'{at}@') if at else rest}"
    head, slashes, tail = text.partition("://") if found and scheme != "file" else ("", "", text)
    text = f"{head}{slashes}{re.sub('/{2,}', '/', tail)}".rstrip("/")
    parts, at_character = [], 0
    for match in re.finditer(f"{_TEMPLATE.pattern}|\\*\\*/|{_GLOB.pattern}", text):
        parts.append(re.escape(text[at_character : match.start()]))
        parts.append(_part(match[0]))
        at_character = match.end()
    parts.append(re.escape(text[at_character:]))
    return re.compile("".join(parts))


def _part(word: str) -> str:
    """One template or wildcard as a regular expression."""
    if word.startswith("{{"):
        return _DATES.get(word.strip("{} -"), "[^/]+")
    if word.startswith("{%"):
        return "[^/]*"
    match word:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    inside = word[1:-1]
    negated = inside.startswith(("!", "^"))
    listed = re.escape(inside[1:] if negated else inside).replace("\\-", "-")
    return f"[^/{listed}]" if negated else f"[{listed}]"
