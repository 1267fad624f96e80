"""Datasets as Airflow users give them: URIs, assets, paths, and what other tasks return."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow.sdk import Asset, XComArg

from airflow_mlsec.errors import UsageError

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

DatasetArgument: TypeAlias = "str | Asset | ObjectStoragePath | os.PathLike[str] | XComArg"


def is_known(value: Any) -> bool:
    """Whether an argument is known when the DAG is parsed: not the result of another task, and without a template."""
    templated = isinstance(value, str) and ("{{" in value or "{%" in value)
    return not isinstance(value, XComArg) and not templated


def uri_of(value: Any, argument: str) -> str:
    """The URI of a dataset that a task was given: a URI or path as text, an `Asset`, an `ObjectStoragePath` or
    `pathlib.Path`, or what `AnonymizeOperator` and `EncryptArtifactOperator` return (their target).

    :param argument: Operator and argument, for the message.
    :raises UsageError: if it is something else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Asset):
        return str(value.uri)
    # Not imported here: it imports fsspec and Arrow, which a DAG that does not use it should not pay for.
    paths = sys.modules.get("airflow.sdk.io.path")
    if paths is not None and isinstance(value, paths.ObjectStoragePath):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, Mapping) and isinstance(value.get("target"), str):
        return str(value["target"])
    raise UsageError(
        f"{argument} is one dataset: a URI, a path, an Asset, an ObjectStoragePath, or what AnonymizeOperator or "
        f"EncryptArtifactOperator returned; not {type(value).__name__}"
    )


def listed(value: Any) -> Any:
    """Several values where somebody gave one."""
    return [value] if isinstance(value, str) else value


def require_one_of(value: object, allowed: Sequence[str], argument: str) -> None:
    """Refuse a misspelled word when the DAG is parsed, not at night when it runs.

    :raises ValueError: if ``value`` is known and not allowed.
    """
    if is_known(value) and value not in allowed:
        raise ValueError(f"{argument} is {' or '.join(map(repr, allowed))}, not {value!r}")
