"""Deadlines of data-subject requests, from rules stored as data (`clocks.yaml`).

Three ways to count:

* ``regulation-1182-71``: Regulation (EEC, Euratom) No 1182/71 Art. 3. The day of the event does
  not count; a period in months ends with the last hour of the day of the same date, or of the
  month's last day if there is none; if that is a Saturday, Sunday or public holiday, with the
  last hour of the next working day; and it has at least two working days.
* ``calendar-days``: the day of receipt does not count (Cal. Civ. Code § 10), every other day does.
  A deadline on a holiday is not moved, which is the safe side.
* ``business-days``: neither Saturdays, Sundays nor public holidays count, nor does the day of
  receipt.

Days are those of the controller's time zone; a period ends when the day does.
"""

from __future__ import annotations

import calendar
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from airflow_mlsec.errors import SettingError, UsageError


@dataclass(frozen=True)
class Rule:
    """One rule of `clocks.yaml`."""

    law: str
    kinds: tuple[str, ...]
    step: str
    article: str
    period: dict[str, int]
    counting: str
    valid_from: date
    valid_until: date | None = None
    extension: dict[str, Any] | None = None


@dataclass(frozen=True)
class Deadline:
    """When a step is due: ``day`` is the last day, ``at`` the moment (UTC) when it has ended."""

    step: str
    day: date
    at: datetime
    article: str


@dataclass(frozen=True)
class Calendar:
    """A controller's time zone and public holidays (``DE``, ``DE-BE``, ``US-CA``; none if empty)."""

    zone: str = "UTC"
    holidays: str = ""

    def day_of(self, moment: datetime) -> date:
        """The local date at a moment."""
        return moment.astimezone(self._zone()).date()

    def end_of(self, day: date) -> datetime:
        """When the last hour of a day has ended, in UTC."""
        midnight = datetime.combine(day + timedelta(days=1), time(), self._zone())
        return midnight.astimezone(UTC)

    def is_working_day(self, day: date) -> bool:
        """Neither Saturday, Sunday nor public holiday."""
        return day.weekday() < 5 and day not in self._holidays()

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise SettingError(f"[mlsec] time_zone '{self.zone}': no such IANA time zone") from None

    def _holidays(self) -> Container[date]:
        return _public_holidays(self.holidays)


@lru_cache(maxsize=16)
def _public_holidays(name: str) -> Container[date]:
    if not name:
        return frozenset()
    # Imported late: it has the calendars of the whole world.
    import holidays

    country, _, part = name.partition("-")
    try:
        found: Container[date] = holidays.country_holidays(country, subdiv=part or None)
    except NotImplementedError:
        raise SettingError(
            f"[mlsec] holidays '{name}' is not a country (DE) or a country and part (US-CA)"
        ) from None
    return found


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """All rules."""
    text = resources.files("airflow_mlsec.subjects").joinpath("clocks.yaml").read_text()
    return tuple(Rule(**{**item, "kinds": tuple(item["kinds"])}) for item in yaml.safe_load(text))


def clocks() -> dict[str, dict[str, Any]]:
    """All rules as data, by law, step and kinds of request."""
    text = resources.files("airflow_mlsec.subjects").joinpath("clocks.yaml").read_text("utf-8")
    found = {}
    for item in yaml.safe_load(text):
        name = (
            f"{item['law']} {item['step']} ({', '.join(item['kinds'])}) since {item['valid_from']}"
        )
        rest = {k: v for k, v in item.items() if k not in ("law", "step", "kinds", "valid_from")}
        found[name] = {k: str(v) if isinstance(v, date) else v for k, v in rest.items()}
    return found


def kinds_of(law: str) -> list[str]:
    """The kinds of request that a law has."""
    return [
        kind
        for rule in rules()
        if rule.law == law and rule.step == "respond"
        for kind in rule.kinds
    ]


def deadlines(
    law: str, kind: str, received: datetime, where: Calendar, extended: bool = False
) -> list[Deadline]:
    """What is due when, earliest first. With ``extended``, the answer's period is the longer one.

    :raises UsageError: if the law has no such request, or had no rule on that day.
    """
    day = where.day_of(received)
    found = []
    for rule in rules():
        in_force = rule.valid_from <= day and (rule.valid_until is None or day <= rule.valid_until)
        if rule.law != law or kind not in rule.kinds or not in_force:
            continue
        period = dict(rule.period)
        if extended and rule.step == "respond":
            if rule.extension is None:
                raise UsageError(f"{rule.article} allows no extension of requests of kind '{kind}'")
            for unit in period:
                period[unit] += rule.extension[unit]
        due = last_day(day, period, rule.counting, where)
        found.append(Deadline(rule.step, due, where.end_of(due), rule.article))
    if not any(deadline.step == "respond" for deadline in found):
        known = ", ".join(kinds_of(law)) or "none: laws are gdpr and ccpa"
        raise UsageError(f"{law} has no request of kind '{kind}' on {day}; it has {known}")
    return sorted(found, key=lambda deadline: deadline.at)


def last_day(day: date, period: dict[str, int], counting: str, where: Calendar) -> date:
    """The last day of a period that starts with an event on ``day``."""
    [(unit, amount)] = period.items()
    if counting == "business-days":
        return _working_days_after(day, amount, where)
    due = _months_after(day, amount) if unit == "months" else day + timedelta(days=amount)
    if counting == "regulation-1182-71":
        while not where.is_working_day(due):
            due += timedelta(days=1)
        # Art. 3(5): a period of two days or more has at least two working days.
        due = max(due, _working_days_after(day, 2, where))
    return due


def _months_after(day: date, amount: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + amount, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _working_days_after(day: date, amount: int, where: Calendar) -> date:
    while amount:
        day += timedelta(days=1)
        amount -= where.is_working_day(day)
    return day
