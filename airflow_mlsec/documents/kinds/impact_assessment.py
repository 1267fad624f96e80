"""A data protection impact assessment (GDPR Art. 35(7)), as far as it can be drafted: the questions are data
(``impact_assessment.yaml``), what is known is answered, and the rest is for people to state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic import Field as PydanticField

from airflow_mlsec.controls import DatasetFacts, Evaluated, Text
from airflow_mlsec.documents._content import (
    Content,
    Field,
    Line,
    Missing,
    Section,
    Table,
    Value,
)
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known, controller_of, of_policy
from airflow_mlsec.documents.kinds._activities import (
    NONE,
    OUTCOMES,
    Activity,
    activities,
    bases_of,
    categories_of,
    decisions_of,
    is_criminal,
    limits_of,
    measures_of,
    names_of,
    recipients_named,
    several,
    special_of,
    subjects_of,
    transfers_of,
)
from airflow_mlsec.errors import SettingError, UsageError
from airflow_mlsec.ledger import Reason
from airflow_mlsec.policy import ASSESSMENTS, Localized, Model, Organization, is_special

_YES, _NO = Text(en="yes", de="ja"), Text(en="no", de="nein")


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    en: str
    de: str

    @property
    def text(self) -> Text:
        return Text(en=self.en, de=self.de)


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    ask: _Words
    # Which of the answers that are known; none, if only people can tell.
    from_: str | None = PydanticField(default=None, alias="from")
    cites: str = ""
    needed: bool = False
    partly: bool = False


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: _Words
    questions: tuple[_Question, ...]


class _Template(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    template: _Words
    draft: bool
    sections: tuple[_Part, ...]
    mandatory: dict[str, _Words]
    criteria: dict[str, _Words]


class Assessment(Model):
    """What people state about one purpose: answers by the code of the question, and which criteria are met."""

    purpose: str
    answers: dict[str, Localized] = PydanticField(default={})
    criteria: dict[str, bool] = PydanticField(default={})


class Assessments(Model):
    """The file."""

    version: int
    assessments: list[Assessment]


class StillPersonal(Reason, en="{dataset}: personal", de="{dataset}: personenbezogen"):
    """Something that was made from the data, in which people can be told apart."""

    dataset: str


class NotPersonal(Reason, en="{dataset}: no longer personal", de="{dataset}: nicht mehr personenbezogen"):  # fmt: skip
    """Something that was made from the data, in which nobody can be told apart any more."""

    dataset: str


class CriteriaMet(
    Reason,
    en="{mandatory:mandatory case|mandatory cases} and {criteria:criterion|criteria} met; nobody has stated {unstated}",
    de="{mandatory:zwingender Fall|zwingende Fälle} und {criteria:Kriterium|Kriterien} erfüllt; zu {unstated} hat niemand etwas angegeben",
):
    """How many of the cases and criteria are met."""

    mandatory: int
    criteria: int
    unstated: int


class ImpactAssessment(DocumentKind):
    """One assessment for each purpose."""

    id = "impact-assessment"
    title = Text(
        en="Data protection impact assessment",
        de="Datenschutz-Folgenabschätzung",
    )
    cites = ("gdpr:35(7)",)

    def subjects(self, known: Known) -> tuple[str, ...]:
        return tuple(assessed(known.facts.sources, known.organization))

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        template = _template()
        found = assessed(known.facts.sources, known.organization).get(about)
        if found is None:
            raise UsageError(f"no policy has the purpose '{about}'")
        stated = _stated(known, about, found, template)
        sections = [
            Section(
                part.title.text,
                tuple(
                    Field(
                        Text(en=f"{q.code} {q.ask.en}", de=f"{q.code} {q.ask.de}"),
                        _answer(known, found, q, stated),
                    )
                    for q in part.questions
                ),
            )
            for part in template.sections
        ]
        return Content(
            self.title, about, self.cites, (_criteria(known, found, stated, template), *sections), template.template.text,
            Text(en="Processing", de="Verarbeitung"),
        )  # fmt: skip


def assessed(sources: Iterable[DatasetFacts], organization: Organization) -> dict[str, Activity]:
    """What there is an assessment of: each purpose, and of several controllers each on its own."""
    found: dict[str, Activity] = {}
    for activity in activities(sources):
        if activity.purpose is None:
            continue
        by: dict[str | None, list[DatasetFacts]] = {}
        for dataset in activity.datasets:
            by.setdefault(controller_of(dataset, organization), []).append(dataset)
        for controller, datasets in by.items():
            name = activity.name if len(by) == 1 else f"{activity.name} ({controller or '?'})"
            found[name] = Activity(activity.purpose, tuple(datasets))
    return found


@lru_cache(maxsize=1)
def _template() -> _Template:
    text = resources.files(__package__).joinpath("impact_assessment.yaml").read_text("utf-8")
    template = _Template.model_validate(yaml.safe_load(text))
    for part in template.sections:
        for question in part.questions:
            if question.from_ is not None and question.from_ not in _KNOWN:
                raise SettingError(f"impact_assessment.yaml: nothing is known as '{question.from_}'")  # fmt: skip
    return template


def _stated(known: Known, about: str, activity: Activity, template: _Template) -> Assessment | None:  # fmt: skip
    path = known.folder / ASSESSMENTS
    file = known.stated(Assessments, ASSESSMENTS, "file of impact assessments")
    codes = {q.code for part in template.sections for q in part.questions}
    names = {
        spelling
        for name, a in assessed(known.facts.sources, known.organization).items()
        for spelling in _spellings(name, a)
    }
    for assessment in file.assessments if file else ():
        odd = sorted({*assessment.answers} - codes) or sorted({*assessment.criteria} - {*template.criteria, *template.mandatory})  # fmt: skip
        if odd:
            raise SettingError(f"{path}: '{assessment.purpose}' answers '{odd[0]}', which nothing asks")  # fmt: skip
        if assessment.purpose.strip().casefold() not in names:
            raise SettingError(f"{path}: no policy has the purpose '{assessment.purpose}'")
    wanted = _spellings(about, activity)
    mine = [a for a in file.assessments if a.purpose.strip().casefold() in wanted] if file else []
    if len(mine) > 1:
        raise SettingError(f"{path}: two assessments of '{about}'")
    return mine[0] if mine else None


def _spellings(name: str, activity: Activity) -> set[str]:
    """How an assessment may name what it is about: as the document does, or as policies do in any language."""
    stated = activity.purpose
    texts = [stated] if isinstance(stated, str) else [*(stated or {}).values()]
    # Of several controllers, only the whole name tells which.
    return {name.casefold(), *(text.strip().casefold() for text in texts if name == activity.name)}


def _answer(known: Known, activity: Activity, question: _Question, stated: Assessment | None) -> Value:  # fmt: skip
    own = stated.answers.get(question.code) if stated else None
    found = _KNOWN[question.from_](known, activity) if question.from_ else None
    missing = Missing(question.cites, needed=question.needed)
    if found is None:
        return own or missing
    if own:
        return several([found, own])
    return several([found, missing]) if question.partly else found


def _lifecycle(known: Known, activity: Activity) -> Value:
    by_id = known.facts.by_id
    made = sorted({t for d in activity.datasets for t in known.made_from.get(d.id, ())})
    found: list[Value] = [
        StillPersonal(str(by_id[t].name)) if by_id[t].is_personal else NotPersonal(str(by_id[t].name))
        for t in made
    ]  # fmt: skip
    return several([*found, limits_of(activity.datasets)])


def _rights(known: Known, activity: Activity) -> Value:
    """Whether requests are answered as they have to be: the worst answer of each control about them."""
    del activity
    worst: dict[str, Evaluated] = {}
    for found in known.evaluated:
        if found.control.family == "requests":
            before = worst.setdefault(found.control.id, found)
            order = [*OUTCOMES]
            if order.index(found.answer.outcome) > order.index(before.answer.outcome):
                worst[found.control.id] = found
    checked: list[Value] = [
        Line((f.control.title, OUTCOMES[f.answer.outcome])) for f in worst.values()
    ]
    return several(checked, Missing("gdpr:15"))


# What is known of an answer, by the name in the template.
_KNOWN: Mapping[str, Callable[[Known, Activity], Value]] = {
    "controllers": lambda known, a: several(
        [known.controller_of(d) or Missing("gdpr:35(7)(a)") for d in a.datasets]
    ),
    "recipients": lambda known, a: recipients_named(known, a.datasets),
    "purpose": lambda known, a: a.title,
    "owners": lambda known, a: several([str(of_policy(d, "owner")) for d in a.datasets]),
    "categories": lambda known, a: several([subjects_of(a.datasets), categories_of(a.datasets)]),
    "lifecycle": _lifecycle,
    "datasets": lambda known, a: names_of(a.datasets),
    "bases": lambda known, a: several([bases_of(a.datasets), special_of(a.datasets)]),
    "limits": lambda known, a: limits_of(a.datasets),
    "rights": _rights,
    "measures": lambda known, a: measures_of(known, a.datasets),
    "transfers": lambda known, a: transfers_of(known, a.datasets),
    "decisions": lambda known, a: decisions_of(a.datasets),
}


def _criteria(
    known: Known, activity: Activity, stated: Assessment | None, template: _Template
) -> Section:
    seen = _seen(known, activity)
    rows: list[tuple[Value, ...]] = []
    met: dict[bool, int] = {True: 0, False: 0}
    open_ = 0
    for is_mandatory, name, words in (
        *((True, n, w) for n, w in template.mandatory.items()),
        *((False, n, w) for n, w in template.criteria.items()),
    ):
        said = stated.criteria.get(name) if stated else None
        # What is seen in the data cannot be denied; what is not seen there may be so all the same.
        holds = True if seen.get(name) else said
        met[is_mandatory] += holds is True
        open_ += holds is None
        answer: Value = Missing("gdpr:35(1)") if holds is None else (_YES if holds else _NO)
        source: Value = ""
        if seen.get(name):
            source = Text(
                en="as policies and lineage show", de="wie Richtlinien und Datenherkunft zeigen"
            )
        elif said is not None:
            source = Text(en="as stated", de="wie angegeben")
        rows.append((words.text, answer, source))
    counted = CriteriaMet(met[True], met[False], open_)
    return Section(
        Text(en="Is an assessment needed?", de="Ist eine Abschätzung nötig?"),
        (Field(Text(en="Result", de="Ergebnis"), counted),),
        Table(
            "criteria",
            (
                Text(en="Case (Art. 35(3), (4)) or criterion (WP 248 rev.01)", de="Fall (Art. 35 Abs. 3, 4) oder Kriterium (WP 248 Rev. 01)"),
                Text(en="Met", de="Erfüllt"), Text(en="How this is known", de="Woher das bekannt ist"),
            ),
            tuple(rows),
            NONE,
        ),
        Text(
            en="Mandatory in the cases of Art. 35(3) and of the authority's list (Art. 35(4)). Otherwise, in most cases, if two criteria are "
            "met; one may suffice (WP 248 rev.01).",
            de="Zwingend in den Fällen des Art. 35 Abs. 3 DSGVO und der Liste der Aufsichtsbehörde (Art. 35 Abs. 4). Im Übrigen in der Regel "
            "bei zwei Kriterien; auch eines kann genügen (WP 248 Rev. 01).",
        ),
    )  # fmt: skip


def _is_sensitive(category: str | None) -> bool:
    """Special categories, data on criminal offences, and what WP 248 calls highly personal."""
    return (
        is_special(category)
        or is_criminal(category)
        or f"{category}.".startswith("user.financial.")
    )


def _seen(known: Known, activity: Activity) -> dict[str, bool]:
    columns = [
        column
        for dataset in activity.datasets
        for column in (of_policy(dataset, "columns") or {}).values()
    ]
    decisions = [of_policy(d, "automated_decisions") for d in activity.datasets]
    mine = {d.id for d in activity.datasets}
    declared = {d.id for d in known.facts.sources}
    made = {t for n in mine for t in known.made_from.get(n, ())}
    joined = any(len(known.facts.by_id[t].sources & declared) > 1 for t in made)
    return {
        "sensitive": any(_is_sensitive(c.get("category")) for c in columns),
        "automated_decisions": any(d not in (None, "none") for d in decisions),
        "matching": joined,
    }
