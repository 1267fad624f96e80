"""How long records are kept."""

from __future__ import annotations

import re
from datetime import date


def keep_from(on: date, keep: str) -> date:
    """The oldest date that a retention period (ISO 8601 duration) covers on the date ``on``."""
    found = re.fullmatch(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?", keep)
    assert found is not None
    years, months, weeks, days = (int(part or 0) for part in found.groups())
    month = on.month - 1 - months
    year = on.year - years + month // 12
    if year < 1:
        return date.min
    first = date(year, month % 12 + 1, 1)
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    day = min(on.day, (after - first).days)
    ordinal = first.replace(day=day).toordinal() - weeks * 7 - days
    return date.fromordinal(max(1, ordinal))
