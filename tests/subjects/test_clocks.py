"""The rules' own examples, and what they say of month ends, holidays and time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from airflow_mlsec.errors import SettingError, UsageError
from airflow_mlsec.subjects import Calendar, deadlines, kinds_of

NO_HOLIDAYS = Calendar()
BELGIUM = Calendar("Europe/Brussels", "BE")
CALIFORNIA = Calendar("America/Los_Angeles", "US-CA")


def respond(law: str, kind: str, received: str, where: Calendar, extended: bool = False) -> date:
    moment = datetime.fromisoformat(received)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return next(d.day for d in deadlines(law, kind, moment, where, extended) if d.step == "respond")


@pytest.mark.parametrize(
    ("received", "where", "extended", "expected"),
    [
        # EDPB Guidelines 01/2022, paragraph 160 f.: 5 March to and including 5 April.
        pytest.param("2024-03-05", NO_HOLIDAYS, False, "2024-04-05", id="EDPB: same date"),
        # ... 31 August: the last day of September.
        pytest.param("2022-08-31", NO_HOLIDAYS, False, "2022-09-30", id="EDPB: shorter month"),
        pytest.param("2026-01-31", NO_HOLIDAYS, False, "2026-03-02", id="February, then a weekend"),
        pytest.param("2024-01-31", NO_HOLIDAYS, False, "2024-02-29", id="leap year"),
        pytest.param("2026-03-07", BELGIUM, False, "2026-04-07", id="7 April is a Tuesday"),
        pytest.param("2026-03-06", BELGIUM, False, "2026-04-07", id="6 April 2026 is Easter Monday"),
        pytest.param("2026-03-06", NO_HOLIDAYS, False, "2026-04-06", id="... where it is none"),
        pytest.param("2025-11-25", BELGIUM, False, "2025-12-26", id="Christmas is a Thursday"),
        pytest.param("2026-11-30", NO_HOLIDAYS, True, "2027-03-01", id="three months, then a weekend"),
        pytest.param("2026-01-31", NO_HOLIDAYS, True, "2026-04-30", id="three months to a short one"),
        # 23:30 UTC is the next day in Brussels.
        pytest.param("2026-06-08T22:30:00+00:00", BELGIUM, False, "2026-07-09", id="time zone"),
    ],
)  # fmt: skip
def test_gdpr_months(received: str, where: Calendar, extended: bool, expected: str) -> None:
    for kind in kinds_of("gdpr"):
        assert respond("gdpr", kind, received, where, extended) == date.fromisoformat(expected)


def test_a_period_has_two_working_days() -> None:
    """Regulation 1182/71 Art. 3(5) never bites on a month, but the rule is there."""
    from airflow_mlsec.subjects.requests._clocks import last_day

    friday = date(2026, 4, 3)  # Good Friday, before Easter Monday
    germany = Calendar("Europe/Berlin", "DE")
    assert last_day(date(2026, 4, 2), {"days": 2}, "regulation-1182-71", germany) == date(
        2026, 4, 8
    )
    assert not germany.is_working_day(friday)


def test_the_last_hour_is_the_controller_s() -> None:
    [due] = deadlines("gdpr", "erasure", datetime(2026, 9, 25, 12, tzinfo=UTC), BELGIUM)
    assert due.day == date(2026, 10, 26), "25 October is a Sunday"
    assert due.at == datetime(2026, 10, 26, 23, tzinfo=UTC), "clocks went back the day before"
    assert due.article == "GDPR Art. 12(3)"


def test_ccpa_days_and_business_days() -> None:
    received = datetime(2026, 11, 20, 18, tzinfo=UTC)  # a Friday before Thanksgiving
    acknowledge, answer = deadlines("ccpa", "delete", received, CALIFORNIA)
    # 26 November is Thanksgiving, the day after is a holiday in California.
    assert (acknowledge.step, acknowledge.day) == ("acknowledge", date(2026, 12, 8))
    assert (answer.step, answer.day) == ("respond", date(2027, 1, 4))
    assert respond("ccpa", "know", "2026-01-01T12:00:00+00:00", CALIFORNIA) == date(2026, 2, 15)
    assert respond("ccpa", "know", "2026-01-01T12:00:00+00:00", CALIFORNIA, True) == date(
        2026, 4, 1
    )
    # 23:00 in Los Angeles on New Year's Eve is the next year in UTC.
    assert respond("ccpa", "correct", "2026-01-01T07:00:00+00:00", CALIFORNIA) == date(2026, 2, 14)
    assert respond("ccpa", "opt-out", "2026-03-02T12:00:00+00:00", CALIFORNIA) == date(2026, 3, 23)
    assert respond("ccpa", "limit", "2026-03-02T12:00:00+00:00", CALIFORNIA) == date(2026, 3, 23)


@pytest.mark.parametrize(
    ("law", "kind", "received", "extended", "message"),
    [
        ("gdpr", "delete", "2026-03-01", False, "no request of kind 'delete'"),
        ("gdpr", "erasure", "2018-05-24", False, "on 2018-05-24"),
        ("lgpd", "erasure", "2026-03-01", False, "laws are gdpr and ccpa"),
        ("ccpa", "opt-out", "2026-03-01", True, "allows no extension"),
        ("ccpa", "limit", "2023-03-01", False, "no request"),
    ],
)
def test_what_the_law_does_not_know_is_said(
    law: str, kind: str, received: str, extended: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        respond(law, kind, received, NO_HOLIDAYS, extended)


@pytest.mark.parametrize(
    "where", [Calendar("Mars/Base"), Calendar("UTC", "XX"), Calendar("UTC", "US-XX")]
)
def test_unknown_places_are_refused(where: Calendar) -> None:
    with pytest.raises(SettingError):
        deadlines("gdpr", "erasure", datetime(2026, 1, 1, tzinfo=UTC), where)
