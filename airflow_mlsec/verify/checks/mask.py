"""The masking character, except in the places that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, quoted


class MaskCheck(Check):
    """The masking character, except in the places that are kept."""

    method, can_see, persons = "mask", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        character, shown = quoted(keys["character"]), keys["keep_first"] + keys["keep_last"]
        middle = f"substring({text}, {keys['keep_first'] + 1}, length({text}) - {shown})"
        return (
            f"replace({text}, {character}, '') = '' OR "
            f"(length({text}) > {shown} AND replace({middle}, {character}, '') = '')"
        )
