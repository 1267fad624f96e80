"""128 bits in hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check


class VaultCheck(Check):
    """128 bits in hexadecimal."""

    method, can_see, persons = "vault", True, "as declared"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return f"regexp_full_match({text}, '[0-9a-f]{{32}}')"
