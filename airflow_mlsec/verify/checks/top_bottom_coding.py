"""A number within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, within


class TopBottomCodingCheck(Check):
    """A number within the limits."""

    method, can_see, persons = "top_bottom_coding", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return within(text, keys["bottom"], keys["top"])
