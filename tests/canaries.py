"""Unique values that are planted as personal data and must turn up nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

EMAIL = "canary.zebra.7f3a9@leak-canary.example"
NAME = "Zoltana Canaryfeather-Quux"
PHONE = "+1-555-0199-CANARY-42"
STREET = "1313 Canary Lane Apartment Ω"
BIRTH_DATE = "1947-03-11"
ALL = (EMAIL, NAME, PHONE, STREET)


def found_in(text: str) -> list[str]:
    """The canaries that a text contains, also with JSON or URL escapes."""
    spelled = {canary: _spellings(canary) for canary in ALL}
    return [canary for canary, forms in spelled.items() if any(form in text for form in forms)]


def found_below(folder: Path, declared: Iterable[Path] = ()) -> list[tuple[Path, str]]:
    """(file, canary) for every file below ``folder`` that holds one, declared files excepted."""
    allowed = {path.resolve() for path in declared}
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.resolve() in allowed or os.path.islink(path):
            continue
        content = path.read_bytes()
        for canary in ALL:
            if any(form.encode() in content for form in _spellings(canary)):
                found.append((path, canary))
    return found


def _spellings(canary: str) -> set[str]:
    import json
    from urllib.parse import quote

    return {canary, json.dumps(canary)[1:-1], quote(canary), repr(canary)[1:-1]}
