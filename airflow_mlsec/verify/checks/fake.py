"""An invented value, which may look like any other value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check


class FakeCheck(Check):
    """An invented value, which may look like any other value."""

    method, can_see, persons = "fake", False, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return "true"
