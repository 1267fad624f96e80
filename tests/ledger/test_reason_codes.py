"""Registers and receipts hold reasons by code: none is renamed, lost or given other fields.

`python -m tests.ledger.test_reason_codes` writes down those that were added.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import airflow_mlsec
from airflow_mlsec.ledger import LANGUAGES, Reason, read_reason, reasons

VECTOR = Path(__file__).parents[1] / "vectors" / "reasons.json"
KNOWN: dict[str, dict[str, str]] = json.loads(VECTOR.read_text())
# What a field of a type holds in an example.
EXAMPLES: dict[str, Any] = {
    "str": "a", "int": 2, "bool": True, "str | None": "a", "int | None": 2, "Reason": {"code": "imported", "text": "a"},
    "Reason | None": {"code": "imported", "text": "a"}, "tuple[str, ...]": ["a", "b"],
    "tuple[Reason, ...]": [{"code": "imported", "text": "a"}, {"code": "imported", "text": "b"}],
}  # fmt: skip


@cache
def of_this_package() -> dict[str, type[Reason]]:
    """Every reason that this package can give, by code."""
    folder = Path(airflow_mlsec.__path__[0])
    for path in folder.rglob("*.py"):
        if re.search(r"^class \w+\(\s*(ledger\.)?Reason,", path.read_text(), re.MULTILINE):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            importlib.import_module(name)
    mine = {code: cls for code, cls in reasons().items() if cls.__module__.startswith("airflow_")}
    return mine


def fields_of(cls: type[Reason]) -> dict[str, str]:
    return {field.name: str(field.type) for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


@pytest.mark.parametrize("code", KNOWN)
def test_a_code_that_was_written_is_read_and_said(code: str) -> None:
    assert fields_of(of_this_package()[code]) == KNOWN[code]
    document = {"code": code, **{name: EXAMPLES[kind] for name, kind in KNOWN[code].items()}}
    reason = read_reason(document)
    assert reason.as_json() == document
    for language in LANGUAGES:
        words = str(reason.words(language))
        assert words
        assert not set("{}") & set(words)


def test_a_new_code_is_written_down() -> None:
    assert set(of_this_package()) == set(KNOWN)


if __name__ == "__main__":
    found = {code: fields_of(cls) for code, cls in of_this_package().items()}
    VECTOR.write_text(json.dumps({**KNOWN, **found}, indent=1, sort_keys=True) + "\n")
