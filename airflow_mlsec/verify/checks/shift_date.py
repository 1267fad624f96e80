"""Another date; a value alone does not show that it is another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check


class ShiftDateCheck(Check):
    """Another date; a value alone does not show that it is another."""

    method, can_see, persons = "shift_date", False, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return "false"
