"""One word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check


class RedactCheck(Check):
    """One word."""

    method, can_see, persons = "redact", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return f"{text} = '[redacted]'"
