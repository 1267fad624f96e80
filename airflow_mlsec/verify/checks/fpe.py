"""Characters of the alphabet, and marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, quoted

_SMALL, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_ALPHABETS = {
    "digits": _DIGITS,
    "lower": _SMALL,
    "upper": _SMALL.upper(),
    "letters": _SMALL + _SMALL.upper(),
    "alphanumeric": _DIGITS + _SMALL + _SMALL.upper(),
    "hex": "0123456789abcdef",
}


class FormatPreservingCheck(Check):
    """Characters of the alphabet, and marks."""

    method, can_see, persons = "fpe", True, "as written"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        # Marks and blanks identify nobody; anything else outside the alphabet (letters, also circled ones) was left.
        alphabet = quoted(_ALPHABETS.get(keys["alphabet"], keys["alphabet"]))
        others = f"translate({text}, {alphabet}, '')"
        return f"NOT regexp_matches({others}, '[^\\p{{P}}\\p{{Z}}\\s+$<=>^`|~]')"

    def explained(self, many: str) -> str:
        """Also says what to do."""
        return f"{many} keep letters or digits that are not of the alphabet of method fpe: name an alphabet that has them"
