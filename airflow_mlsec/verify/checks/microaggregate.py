"""The mean of a group; a value alone does not show that it is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check


class MicroaggregateCheck(Check):
    """The mean of a group; a value alone does not show that it is one."""

    method, can_see, persons = "microaggregate", False, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return "false"
