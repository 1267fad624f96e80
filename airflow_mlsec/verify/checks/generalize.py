"""Labels of a hierarchy's level."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.verify._check import Check, quoted

_UNITS = {
    "day": "-?[0-9]{4,}-[0-9]{2}-[0-9]{2}",
    "month": "-?[0-9]{4,}-[0-9]{2}",
    "quarter": "-?[0-9]{4,}-Q[1-4]",
    "year": "-?[0-9]{4,}",
    "decade": "-?[0-9]{3,}0s",
    "century": "-?[0-9]{2,}00--?[0-9]{2,}99",
}
_PREFIX_MOST = 32


class GeneralizeCheck(Check):
    """Labels of a hierarchy's level."""

    method, can_see, persons = "generalize", True, "no"

    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """See `Check`."""
        return _generalized(text, keys["hierarchy"], keys["level"], folder)


def _generalized(text: str, hierarchy: Mapping[str, Any], level: int, folder: Path) -> str:
    match hierarchy["kind"]:
        case "date":
            if level <= len(hierarchy["levels"]):
                unit = _UNITS[hierarchy["levels"][level - 1]]
                return f"regexp_full_match({text}, {quoted(unit)})"
        case "interval":
            if level <= len(hierarchy["widths"]):
                return f"regexp_full_match({text}, '\\[[-.0-9]+, [-.0-9]+\\)')"
        case "prefix":
            keep = hierarchy["keep"] or range(_PREFIX_MOST - 1, 0, -1)
            if level <= len(keep):
                return f"replace(substring({text}, {keep[level - 1] + 1}), '*', '') = ''"
        case "file":
            labels = _labels(folder / hierarchy["path"], level)
            return f"{text} IN ({', '.join(map(quoted, labels))})" if labels else "false"
    return f"{text} = '*'"


def _labels(path: Path, level: int) -> list[str]:
    """The labels that a hierarchy file has at a level."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    delimiter = ";" if lines and lines[0].count(";") >= lines[0].count(",") else ","
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    return sorted({row[level] if level < len(row) else "*" for row in rows})
