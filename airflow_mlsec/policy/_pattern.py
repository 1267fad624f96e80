"""A policy of many datasets of one kind: day partitions (``orders/{{ ds }}``), globs (``orders/*.parquet``)."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from airflow_mlsec.errors import UsageError

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_GLOB = re.compile(r"\*\*|\*|\?|\[[^\]/]+\]")


def is_pattern(dataset: str) -> bool:
    """Whether a policy's ``dataset`` names more than one: it has a template of Airflow, or a wildcard."""
    return _TEMPLATE.search(dataset) is not None or _GLOB.search(dataset) is not None


def is_template(dataset: str) -> bool:
    """Whether a policy's ``dataset`` has a template of Airflow, which a task's context fills."""
    return _TEMPLATE.search(dataset) is not None


def require_one(dataset: str, ask: str) -> str:
    """The ``dataset`` of a policy, if it names just one.

    :raises UsageError: if it is a pattern; ``ask`` says what to give instead.
    """
    if is_pattern(dataset):
        raise UsageError(f"the policy's `dataset` ({dataset}) names many: {ask}")
    return dataset


def matches(dataset: str, name: str) -> bool:
    """Whether a policy's ``dataset`` covers a dataset of this name (a path, or a URI without the connection).

    What a template may become has no ``/`` in it, like what ``*`` and ``?`` stand for; ``**`` is any
    number of folders.
    """
    return _compiled(dataset).fullmatch(name.rstrip("/")) is not None


@lru_cache(maxsize=1_024)
def _compiled(dataset: str) -> re.Pattern[str]:
    text = dataset.removeprefix("file://")
    if "://" in text:
        scheme, _, rest = text.partition("://")
        text = f"{scheme}://{rest.rpartition('@')[2] if '@' in rest.split('/', 1)[0] else rest}"
    elif not text.startswith("/"):
        text = f"{Path.cwd()}/{text}"
    found, at = [], 0
    pattern = re.compile(f"{_TEMPLATE.pattern}|{_GLOB.pattern}")
    for match in pattern.finditer(text):
        found.append(re.escape(text[at : match.start()]))
        word = match[0]
        if word == "**":
            found.append(".*")
        elif word == "?":
            found.append("[^/]")
        elif word.startswith("["):
            found.append(
                f"[{'^' if word[1] == '!' else ''}{re.escape(word[1:-1].lstrip('!')).replace(chr(92) + '-', '-')}]"
            )
        else:
            found.append("[^/]*" if word == "*" else "[^/]+")
        at = match.end()
    found.append(re.escape(text[at:].rstrip("/")))
    return re.compile("".join(found))
