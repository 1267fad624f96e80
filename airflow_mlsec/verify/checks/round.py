"""A multiple of a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, number


class RoundCheck(Check):
    """A multiple of a number."""

    method, can_see, persons = "round", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        steps = f"({number(text)} / {keys['to']!r})"
        exact = f"abs({steps} - round({steps})) <= 1e-9 * greatest(1, abs({steps}))"
        return f"NOT isfinite({number(text)}) OR {exact}"
