"""Which provisions of a standard apply, why, and what of them is carried out, as checked (ISO/IEC 27001:2022, 6.1.3 d)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from airflow_mlsec.controls import Evaluated, Text, law
from airflow_mlsec.documents._content import Content, Line, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known
from airflow_mlsec.documents.kinds._activities import several
from airflow_mlsec.errors import SettingError
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.policy import APPLICABILITY, Localized, Model

# All of Annex A of ISO/IEC 27001:2022: how many there are under each number.
_ANNEX_A = {5: 37, 6: 8, 7: 14, 8: 34}
_YES, _NO = Text(en="yes", de="ja"), Text(en="no", de="nein")


class Stated(Model):
    """What people state about a provision: whether it applies, why, whether it is implemented, and what is done about
    it beyond what is checked."""

    applies: bool
    why: Localized
    implemented: bool | None = None
    done: Localized | None = None


class Applicability(Model):
    """The file: by standard, then by provision."""

    version: int
    standards: dict[str, dict[str, Stated]]


class StatementOfApplicability(DocumentKind):
    """Every provision of a standard: whether it applies, the justification, and what controls find now."""

    id = "statement-of-applicability"
    title = Text(en="Statement of applicability", de="Erklärung zur Anwendbarkeit")
    cites = ("iso-27001:6.1.3 d)",)

    def subjects(self, known: Known) -> tuple[str, ...]:
        """Standards: what is no law."""
        del known
        standards = [name for name, i in law().instruments.items() if i.applies is None]
        return ("iso-27001", *(name for name in standards if name != "iso-27001"))

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        instrument = law().instruments[about]
        stated = known.stated(Applicability, APPLICABILITY, "statement of applicability")
        mine = stated.standards.get(about, {}) if stated else {}
        provisions = _provisions(about)
        if odd := sorted({*mine} - {*provisions}):
            raise SettingError(f"{known.folder / APPLICABILITY}: {about} has no '{odd[0]}'")
        asked: dict[str, dict[str, list[Evaluated]]] = {}
        for found in known.evaluated:
            for cited in found.control.cites:
                name, _, provision = cited.partition(":")
                if name == about:
                    asked.setdefault(provision, {}).setdefault(found.control.id, []).append(found)
        rows = [_row(p, mine.get(p), list(asked.get(p, {}).values())) for p in provisions]
        complete = about == "iso-27001"
        return Content(
            self.title, instrument.title["en"], self.cites,
            (
                Section(
                    Text(en=instrument.title["en"], de=instrument.title["de"]),
                    table=Table(
                        "provisions",
                        (
                            Text(en="Provision", de="Vorgabe"), Text(en="Applies", de="Gilt"),
                            Text(en="Justification", de="Begründung"), Text(en="Implemented", de="Umgesetzt"), Text(en="Other implementation", de="Weitere Umsetzung"),
                            Text(en="As checked here", de="Wie hier geprüft"),
                        ),
                        tuple(rows),
                        Text(en="This standard has no provisions in the law catalogue.", de="Der Rechtskatalog hat keine Vorgaben dieses Standards."),
                    ),
                    note=None if complete else Text(
                        en="Only the provisions that controls cite are listed: the standard has more.",
                        de="Nur die Vorgaben, die Kontrollen anführen, sind aufgeführt: Der Standard hat mehr.",
                    ),
                ),
            ),
            about_label=Text(en="Standard", de="Standard"),
        )  # fmt: skip


def _provisions(about: str) -> tuple[str, ...]:
    if about == "iso-27001":
        return tuple(f"A.{part}.{n}" for part, most in _ANNEX_A.items() for n in range(1, most + 1))
    return law().instruments[about].provisions


def _row(provision: str, stated: Stated | None, asked: list[list[Evaluated]]) -> tuple[Value, ...]:
    checked: list[Value] = []
    for every in asked:
        counts = Counter(found.answer.outcome for found in every)
        if {*counts} == {Outcome.NOT_APPLICABLE}:
            continue
        held, missed, open_ = counts[Outcome.PASS], counts[Outcome.FAIL], counts[Outcome.UNKNOWN]
        told = Text(
            en=f"holds {held}, does not hold {missed}, unknown {open_}, exempt {counts[Outcome.EXEMPT]}",
            de=f"erfüllt {held}, nicht erfüllt {missed}, unbekannt {open_}, ausgenommen {counts[Outcome.EXEMPT]}",
        )
        checked.append(Line((every[0].control.title, told)))
    nothing = Text(en="not checked here", de="hier nicht geprüft")
    found = several(checked) if checked else nothing
    if stated is None:
        return (provision, Missing("iso-27001:6.1.3 d)"), "", "", "", found)
    done: Value = ""
    if stated.applies:
        done = Missing("iso-27001:6.1.3 d)") if stated.implemented is None else (_YES if stated.implemented else _NO)  # fmt: skip
    return (provision, _YES if stated.applies else _NO, stated.why, done, stated.done or "", found)
