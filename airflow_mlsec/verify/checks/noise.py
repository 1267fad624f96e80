"""A number within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, within


class NoiseCheck(Check):
    """A number within the limits."""

    method, can_see, persons = "noise", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return within(text, keys["minimum"], keys["maximum"])
