"""Text in which no mail address and no social security number of the United States is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, quoted

_EMAIL = r"[\p{L}\p{N}][._+'-]*@[\p{L}\p{N}]([\p{L}\p{N}._-]*[\p{L}\p{N}])?\.\p{L}{2,}"
_SSN = r"\b(00[1-9]|0[1-9][0-9]|[1-57-8][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])-(0[1-9]|[1-9][0-9])-([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)\b"


class RedactTextCheck(Check):
    """Text in which no mail address and no social security number of the United States is left."""

    method, can_see, persons = "redact_text", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        looked_for = [
            pattern
            for entity, pattern in (("email", _EMAIL), ("national_id", _SSN))
            if entity in keys["entities"]
        ]
        found = [f"NOT regexp_matches({text}, {quoted(p)})" for p in looked_for]
        return " AND ".join(found) or "true"
