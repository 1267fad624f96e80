"""The policy's value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, quoted


class ConstantCheck(Check):
    """The policy's value."""

    method, can_see, persons = "constant", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return f"lower({text}) = lower({quoted(str(keys['value']))})"
