"""The numbers of consumers' requests that a business has to publish for each calendar year (11 CCR § 7102)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from statistics import median

from airflow_mlsec.controls import Text
from airflow_mlsec.documents._content import Content, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known
from airflow_mlsec.subjects import Answered, Request, answered

# By the letters of § 7102(a)(1); None: this product does not handle such requests.
_KINDS: tuple[tuple[Text, str | None], ...] = (
    (Text(en="(A) Requests to delete", de="(A) Anträge auf Löschung"), "delete"),
    (Text(en="(B) Requests to correct", de="(B) Anträge auf Berichtigung"), "correct"),
    (Text(en="(C) Requests to know", de="(C) Anträge auf Auskunft"), "know"),
    (Text(en="(D) Requests to access ADMT", de="(D) Anträge auf Auskunft über automatisierte Entscheidungen"), None),
    (Text(en="(E) Requests to opt out of sale and sharing", de="(E) Widersprüche gegen Verkauf und Weitergabe für kontextübergreifende Werbung"), "opt-out"),
    (Text(en="(F) Requests to limit", de="(F) Anträge auf Beschränkung der Nutzung sensibler Daten"), "limit"),
    (Text(en="(G) Requests to opt out of ADMT", de="(G) Widersprüche gegen automatisierte Entscheidungen"), None),
)  # fmt: skip
_NOBODY = Text(en="–", de="–")
_NOT_YET = Text(en="not applicable before 2027", de="vor 2027 nicht anwendbar")


class RequestMetrics(DocumentKind):
    """Received, complied with in whole or in part, denied, and the median and mean of days, by kind of request."""

    id = "request-metrics"
    title = Text(
        en="Metrics of consumers' requests (CCPA)", de="Kennzahlen zu Verbraucheranträgen (CCPA)"
    )
    cites = ("ccpa-rules:7102",)

    def subjects(self, known: Known) -> tuple[str, ...]:
        """Years: the last full one first."""
        this = known.facts.on.year
        first = min((_year(known, r) for r in _requests(known)), default=this)
        return (str(this - 1), *(str(year) for year in range(this, min(first, this) - 1, -1) if year != this - 1))  # fmt: skip

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        calendar = known.facts.calendar
        mine = [r for r in _requests(known) if str(_year(known, r)) == about]
        rows: list[tuple[Value, ...]] = []
        for title, kind in _KINDS:
            if kind is None:
                # 11 CCR § 7220 to 7222 apply from 1 January 2027.
                first = Missing("ccpa-rules:7102") if int(about) >= 2027 else _NOT_YET
                rows.append((title, first, *([""] * 6)))
                continue
            ended = [
                (r, answered(known.facts.register, r, calendar)) for r in mine if r.kind == kind
            ]
            days = [d for r, a in ended if (d := _days(known, r, a)) is not None]
            counts = {name: sum(a.outcome == name for _, a in ended) for name in ("whole", "part", "denied", "open")}  # fmt: skip
            middle: Value = _number(Fraction(median(days))) if days else _NOBODY
            mean: Value = _number(Fraction(sum(days), len(days))) if days else _NOBODY
            rows.append(
                (title, len(ended), counts["whole"], counts["part"], counts["denied"], counts["open"], middle, mean)
            )  # fmt: skip
        section = Section(
            Text(en=f"Requests received in {about}", de=f"Im Jahr {about} eingegangene Anträge"),
            table=Table(
                "requests",
                (
                    Text(en="Kind", de="Art"), Text(en="Received", de="Eingegangen"),
                    Text(en="Complied with in whole", de="Ganz erfüllt"), Text(en="In part", de="Teilweise erfüllt"),
                    Text(en="Denied", de="Abgelehnt"), Text(en="Not answered yet", de="Noch nicht beantwortet"),
                    Text(en="Median days", de="Tage (Median)"), Text(en="Mean days", de="Tage (Mittelwert)"),
                ),
                tuple(rows),
                _NOBODY,
            ),
            note=Text(
                en="Days are counted from receipt to the letter with the outcome; where no letter is recorded, to the day on "
                "which the request was closed or refused, or its restriction began. A deletion of which everything is kept by "
                "law counts as denied. Requests that did not come through this register are not counted.",
                de="Tage zählen vom Eingang bis zum Brief mit dem Ergebnis; wo kein Brief verzeichnet ist, bis zu dem Tag, an dem "
                "der Antrag abgeschlossen oder abgelehnt wurde oder die Einschränkung begann. Eine Löschung, bei der alles "
                "kraft Gesetzes aufbewahrt wird, zählt als abgelehnt. Anträge, die nicht über dieses Register kamen, sind nicht gezählt.",
            ),
        )  # fmt: skip
        note = Text(
            en="For businesses that know or reasonably should know that they, alone or in combination, buy, receive for their "
            "commercial purposes, sell, share, or otherwise make available for commercial purposes the personal information of "
            "10,000,000 or more consumers in a calendar year. The numbers are of consumers whose requests were opened under the CCPA; "
            "they are published in the privacy policy, or linked from it, by 1 July of the following year.",
            de="Für Unternehmen, die wissen oder wissen müssten, dass sie allein oder zusammen mit anderen in einem Kalenderjahr Daten "
            "von mindestens 10.000.000 Verbrauchern kaufen, für ihre Geschäftszwecke erhalten, verkaufen, weitergeben oder sonst zu "
            "Geschäftszwecken bereitstellen. Die Zahlen betreffen Verbraucher, deren Anträge nach dem CCPA eröffnet wurden; sie werden "
            "bis zum 1. Juli des folgenden Jahres in der Datenschutzerklärung veröffentlicht oder von dort verlinkt.",
        )
        return Content(self.title, about, self.cites, (section,), note, Text(en="Year", de="Jahr"))


def _requests(known: Known) -> list[Request]:
    return [request for request in known.facts.requests if request.law == "ccpa"]


def _year(known: Known, request: Request) -> int:
    return known.facts.calendar.day_of(datetime.fromisoformat(request.requested_at)).year


def _days(known: Known, request: Request, ended: Answered) -> int | None:
    if ended.day is None:
        return None
    return (ended.day - known.facts.calendar.day_of(datetime.fromisoformat(request.requested_at))).days  # fmt: skip


def _number(number: Fraction) -> Text:
    """With one decimal, if it has any."""
    text = str(number) if number.denominator == 1 else f"{float(number):.1f}"
    return Text(en=text, de=text.replace(".", ","))
