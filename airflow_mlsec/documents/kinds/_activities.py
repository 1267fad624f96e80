"""Processing activities: what is done with data for one purpose, as several documents describe it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from airflow_mlsec.controls import DatasetFacts, Text
from airflow_mlsec.documents._content import Category, Country, Line, Missing, Period, Value
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.ledger import Outcome, Reason, ReleaseStatement
from airflow_mlsec.policy import Party, is_special, may_be_special

NONE = Text(en="none", de="keine")
_NONE_STATED = Text(
    en="none among the stated categories", de="keine unter den angegebenen Kategorien"
)
_NOT_PER_PURPOSE = Text(
    en="stated for the dataset, not for this purpose",
    de="für den Datenbestand angegeben, nicht für diesen Zweck",
)
# The last is the worst.
OUTCOMES: Mapping[Outcome, Text] = {
    Outcome.NOT_APPLICABLE: Text(en="not applicable", de="nicht anwendbar"),
    Outcome.PASS: Text(en="yes", de="ja"),
    Outcome.EXEMPT: Text(en="exempt", de="ausgenommen"),
    Outcome.UNKNOWN: Text(en="unknown", de="unbekannt"),
    Outcome.FAIL: Text(en="no", de="nein"),
}
_PEOPLE_UNKNOWN = Missing("gdpr:30(1)(c)")
_BASES: Mapping[str, Text] = {
    "consent": Text(en="consent (GDPR Art. 6(1)(a))", de="Einwilligung (Art. 6(1)(a) DSGVO)"),
    "contract": Text(en="contract (GDPR Art. 6(1)(b))", de="Vertrag (Art. 6(1)(b) DSGVO)"),
    "legal_obligation": Text(en="legal obligation (GDPR Art. 6(1)(c))", de="rechtliche Verpflichtung (Art. 6(1)(c) DSGVO)"),
    "vital_interests": Text(en="vital interests (GDPR Art. 6(1)(d))", de="lebenswichtige Interessen (Art. 6(1)(d) DSGVO)"),
    "public_task": Text(en="public task (GDPR Art. 6(1)(e))", de="öffentliche Aufgabe (Art. 6(1)(e) DSGVO)"),
    "legitimate_interests": Text(en="legitimate interests (GDPR Art. 6(1)(f))", de="berechtigte Interessen (Art. 6(1)(f) DSGVO)"),
    "business_purpose": Text(en="business purpose (Cal. Civ. Code § 1798.140(e))", de="Geschäftszweck (Cal. Civ. Code § 1798.140(e))"),
}  # fmt: skip
_CONDITIONS: Mapping[str, Text] = {
    "explicit_consent": Text(en="explicit consent (GDPR Art. 9(2)(a))", de="ausdrückliche Einwilligung (Art. 9(2)(a) DSGVO)"),
    "employment": Text(en="employment and social protection law (GDPR Art. 9(2)(b))", de="Arbeits- und Sozialrecht (Art. 9(2)(b) DSGVO)"),
    "vital_interests": Text(en="vital interests (GDPR Art. 9(2)(c))", de="lebenswichtige Interessen (Art. 9(2)(c) DSGVO)"),
    "non_profit": Text(en="non-profit body (GDPR Art. 9(2)(d))", de="Organisation ohne Gewinnerzielungsabsicht (Art. 9(2)(d) DSGVO)"),
    "made_public": Text(en="made public by the person (GDPR Art. 9(2)(e))", de="von der Person öffentlich gemacht (Art. 9(2)(e) DSGVO)"),
    "legal_claims": Text(en="legal claims (GDPR Art. 9(2)(f))", de="Rechtsansprüche (Art. 9(2)(f) DSGVO)"),
    "substantial_public_interest": Text(en="substantial public interest (GDPR Art. 9(2)(g))", de="erhebliches öffentliches Interesse (Art. 9(2)(g) DSGVO)"),
    "health_care": Text(en="health care (GDPR Art. 9(2)(h))", de="Gesundheitsversorgung (Art. 9(2)(h) DSGVO)"),
    "public_health": Text(en="public health (GDPR Art. 9(2)(i))", de="öffentliche Gesundheit (Art. 9(2)(i) DSGVO)"),
    "research": Text(en="research, archiving or statistics (GDPR Art. 9(2)(j))", de="Forschung, Archiv oder Statistik (Art. 9(2)(j) DSGVO)"),
}  # fmt: skip
# What happens to columns before anybody trains on them.
_METHODS: Mapping[str, Text] = {
    "constant": Text(en="columns replaced by a constant", de="durch eine Konstante ersetzte Spalten"),
    "drop": Text(en="columns removed", de="entfernte Spalten"),
    "fake": Text(en="columns replaced by invented values", de="durch erfundene Werte ersetzte Spalten"),
    "fpe": Text(en="columns encrypted, format kept", de="formaterhaltend verschlüsselte Spalten"),
    "generalize": Text(en="columns generalized", de="vergröberte Spalten"),
    "mask": Text(en="columns masked", de="maskierte Spalten"),
    "microaggregate": Text(en="columns averaged in groups", de="in Gruppen gemittelte Spalten"),
    "noise": Text(en="columns with added noise", de="Spalten mit zugefügtem Rauschen"),
    "pseudonymize": Text(en="columns pseudonymized", de="pseudonymisierte Spalten"),
    "redact": Text(en="columns redacted", de="geschwärzte Spalten"),
    "redact_text": Text(en="texts redacted", de="geschwärzte Freitexte"),
    "round": Text(en="columns rounded", de="gerundete Spalten"),
    "shift_date": Text(en="dates shifted", de="verschobene Daten"),
    "tokenize": Text(en="columns tokenized", de="tokenisierte Spalten"),
    "top_bottom_coding": Text(en="columns with capped extremes", de="Spalten mit gekappten Extremwerten"),
    "vault": Text(en="columns kept in a vault", de="in einem Tresor verwahrte Spalten"),
}  # fmt: skip
_ORIGINS: Mapping[str, Text] = {
    "person": Text(en="from the data subject", de="bei der betroffenen Person erhoben"),
    "others": Text(
        en="not obtained from the data subject (Art. 14)",
        de="nicht bei der betroffenen Person erhoben (Art. 14 DSGVO)",
    ),
    "public": Text(en="from public sources", de="aus öffentlichen Quellen"),
}


class ReleasesProven(
    Reason,
    en="{signed} of {releases:release|releases} checked and signed",
    de="{signed} von {releases:Freigabe|Freigaben} geprüft und signiert",
):
    """How many of the releases that were made from the data are proven."""

    signed: int
    releases: int


class KAnonymity(Reason, en="k-anonymity with k = {k}", de="k-Anonymität mit k = {k}"):
    """The guarantee that a policy asks of releases."""

    k: int


@dataclass(frozen=True)
class Activity:
    """What is done with data for one purpose; None if nobody has stated the purpose of these datasets."""

    purpose: Mapping[str, str] | str | None
    datasets: tuple[DatasetFacts, ...]

    @property
    def title(self) -> Value:
        """Its purpose, or that it is missing."""
        return Missing("gdpr:30(1)(b)") if self.purpose is None else self.purpose

    @property
    def name(self) -> str:
        """Its purpose as one text, to choose it by: in English, if it is stated in several languages."""
        if self.purpose is None or isinstance(self.purpose, str):
            return self.purpose or ""
        return self.purpose.get("en") or next(iter(self.purpose.values()))


def activities(datasets: Iterable[DatasetFacts]) -> list[Activity]:
    """Datasets by purpose, by the purpose's name; last those without one. A dataset with several purposes is in each."""
    found: list[Activity] = []
    without: list[DatasetFacts] = []
    for dataset in datasets:
        stated = of_policy(dataset, "purposes") or ()
        for purpose in stated:
            at = next(
                (i for i, known in enumerate(found) if _is_same(known.purpose, purpose)), None
            )
            if at is None:
                found.append(Activity(purpose, (dataset,)))
                continue
            known = found[at]
            # One policy may state it in several languages, another only in one.
            said = _together(known.purpose, purpose)
            both = known.datasets if dataset in known.datasets else (*known.datasets, dataset)
            found[at] = Activity(said, both)
        if not stated:
            without.append(dataset)
    found.sort(key=lambda activity: activity.name.casefold())
    return [*found, *([Activity(None, tuple(without))] if without else [])]


def _is_same(one: Mapping[str, str] | str | None, other: Mapping[str, str] | str) -> bool:
    """Whether two purposes are one: no language says otherwise, and one says the same."""
    if one is None:
        return False
    if isinstance(one, str) or isinstance(other, str):
        texts = [{_plain(t) for t in ([x] if isinstance(x, str) else x.values())} for x in (one, other)]  # fmt: skip
        return bool(texts[0] & texts[1])
    shared = one.keys() & other.keys()
    return bool(shared) and all(_plain(one[name]) == _plain(other[name]) for name in shared)


def _together(one: Mapping[str, str] | str | None, other: Mapping[str, str] | str) -> Mapping[str, str] | str:  # fmt: skip
    if isinstance(one, Mapping):
        return {**other, **one} if isinstance(other, Mapping) else one
    return other if isinstance(other, Mapping) or one is None else one


def _plain(text: str) -> str:
    return text.strip().casefold()


def of_controller(known: Known, name: str) -> list[DatasetFacts]:
    """The datasets of a controller, and those whose controller nobody has stated: they may be its own."""
    return [d for d in known.facts.sources if known.controller_of(d) in (None, name) or not name]


def abroad_note(known: Known, name: str) -> Text | None:
    """What has to be said of a controller outside the European Economic Area, whose own law this package does not know."""
    controller = known.organization.controller(name) if name else None
    if controller is None or not controller.is_abroad:
        return None
    return Text(
        en="Prepared under the GDPR of the European Union only: what the law of the controller's own country asks for is not in "
        "it, and countries count as third countries from the European Economic Area.",
        de="Nur nach der DSGVO der Europäischen Union erstellt: Was das Recht des eigenen Landes des Verantwortlichen verlangt, steht "
        "nicht darin, und Drittländer zählen vom Europäischen Wirtschaftsraum aus.",
    )


# --- what is stated about some datasets together


def per_purpose(value: Value, datasets: Iterable[DatasetFacts], provision: str) -> Value:
    """What is stated for datasets as it is shown for one purpose: of a dataset with several purposes nobody has said for which
    of them it holds."""
    if any(len(of_policy(d, "purposes") or ()) > 1 for d in datasets):
        return several([value, Missing(provision, _NOT_PER_PURPOSE)])
    return value


def several(values: Iterable[Value], missing: Missing | None = None) -> Value:
    """Values without repetition; ``missing`` if there is none."""
    # By what they are: mappings cannot be looked up.
    by_text = {
        repr(part): part
        for value in values
        for part in (value if isinstance(value, tuple) else (value,))
    }
    found = tuple(by_text.values())
    if not found and missing is not None:
        return missing
    return found[0] if len(found) == 1 else found


def title_of(dataset: DatasetFacts) -> Value:
    """What people call a dataset; its name, if no title is stated."""
    title: Value = of_policy(dataset, "title") or str(dataset.name)
    return title


def names_of(datasets: Iterable[DatasetFacts]) -> Value:
    """The titles of datasets, each with its name."""
    found: list[Value] = []
    for dataset in datasets:
        title = of_policy(dataset, "title")
        if title is None:
            found.append(str(dataset.name))
        elif isinstance(title, str):
            found.append(f"{title} ({dataset.name})")
        else:
            found.append({language: f"{text} ({dataset.name})" for language, text in title.items()})
    return several(found)


def subjects_of(datasets: Iterable[DatasetFacts]) -> Value:
    """The kinds of persons (GDPR Art. 30(1)(c))."""
    kinds = [of_policy(d, "subject", "kind") for d in datasets]
    return several([k or _PEOPLE_UNKNOWN for k in kinds], _PEOPLE_UNKNOWN)


def categories_of(datasets: Iterable[DatasetFacts]) -> Value:
    """The categories of data (GDPR Art. 30(1)(c)); that one is missing, if a column has none."""
    names = {
        column.get("category")
        for dataset in datasets
        for column in (of_policy(dataset, "columns") or {}).values()
    }
    found: list[Value] = [Category(name) for name in sorted(name for name in names if name)]
    return several(
        [*found, *([Missing("gdpr:30(1)(c)")] if None in names else [])], Missing("gdpr:30(1)(c)")
    )


def special_of(datasets: Iterable[DatasetFacts]) -> Value:
    """Special categories, and the condition under which they may be processed (GDPR Art. 9(2)): those that are stated."""
    found: list[Value] = []
    unclear = False
    for dataset in datasets:
        columns = (of_policy(dataset, "columns") or {}).values()
        kinds = sorted({c["category"] for c in columns if is_special(c.get("category"))})
        unclear |= not columns or not all(c.get("category") for c in columns)
        unclear |= any(may_be_special(c.get("category")) for c in columns)
        found += [Category(kind) for kind in kinds]
        condition = of_policy(dataset, "special_categories", "condition")
        if condition:
            found.append(_CONDITIONS[condition])
            found.append(of_policy(dataset, "special_categories", "source"))
        elif kinds:
            found.append(Missing("gdpr:9(2)"))
    if unclear:
        found.append(Missing("gdpr:30(1)(c)"))
    return several(found) if found else _NONE_STATED


def is_criminal(category: str | None) -> bool:
    """Whether data of a category is about criminal convictions and offences (GDPR Art. 10)."""
    return category is not None and f"{category}.".startswith("user.criminal_history.")


def criminal_of(datasets: Iterable[DatasetFacts]) -> Value:
    """Data about criminal convictions and offences; the law that authorises it (GDPR Art. 10) is stated nowhere."""
    columns = [c for d in datasets for c in (of_policy(d, "columns") or {}).values()]
    kinds = sorted({c["category"] for c in columns if is_criminal(c.get("category"))})
    if not kinds:
        return _NONE_STATED
    return (*(Category(kind) for kind in kinds), Missing("gdpr:10"))


def bases_of(datasets: Iterable[DatasetFacts]) -> Value:
    """The lawful bases, and what says so."""
    found: list[Value] = []
    for dataset in datasets:
        basis = of_policy(dataset, "lawful_basis", "basis")
        found.append(_BASES[basis] if basis else Missing("gdpr:6(1)"))
        if source := of_policy(dataset, "lawful_basis", "source"):
            found.append(source)
    return several(found, Missing("gdpr:6(1)"))


def recipients_of(
    known: Known, datasets: Iterable[DatasetFacts]
) -> tuple[list[tuple[str, Party | None]], bool]:
    """Everybody who receives data, with what the organization's file says of them, and whether every dataset says who
    does."""
    found: dict[str, Party | None] = {}
    stated = True
    for dataset in datasets:
        recipients = of_policy(dataset, "recipients")
        stated &= bool(recipients)
        for recipient in () if recipients in (None, "none") else recipients:
            found[recipient["name"]] = known.organization.party(recipient["name"])
    return sorted(found.items()), stated


def recipients_named(known: Known, datasets: Iterable[DatasetFacts]) -> Value:
    """Who receives the data (GDPR Art. 30(1)(d)). Processors are recipients (Art. 4(9)): of one that no policy of these names,
    nobody has stated whether it gets this data."""
    found, stated = recipients_of(known, datasets)
    named: list[Value] = [name for name, _ in found]
    if not stated:
        named.append(Missing("gdpr:30(1)(d)"))
    return (
        several([*named, *_silent_processors(known, {n for n, _ in found}, "gdpr:30(1)(d)")])
        or NONE
    )


def _silent_processors(known: Known, named: Collection[str], provision: str) -> list[Value]:
    silent = [p.name for p in known.organization.processors if p.name not in named]
    if not silent:
        return []
    names = ", ".join(silent)
    why = Text(en=f"not stated whether a processor gets it: {names}", de=f"nicht angegeben, ob ein Auftragsverarbeiter sie erhält: {names}")  # fmt: skip
    return [Missing(provision, why)]


def transfer_to(name: str, party: Party | None) -> Value | None:
    """The transfer to a recipient out of the European Economic Area and what allows it; None if it is inside
    (GDPR Art. 30(1)(e))."""
    if party is None or party.country is None:
        return Line((name, Missing("gdpr:30(1)(e)")))
    if not party.is_abroad:
        return None
    return Line((name, Country(party.country), party.safeguard or Missing("gdpr:44")))


def transfers_of(known: Known, datasets: Iterable[DatasetFacts]) -> Value:
    """Transfers out of the European Economic Area (GDPR Art. 30(1)(e))."""
    found, stated = recipients_of(known, datasets)
    told = [
        part for name, party in found for part in [transfer_to(name, party)] if part is not None
    ]
    if not stated:
        told.append(Missing("gdpr:30(1)(e)"))
    abroad = {p.name for p in known.organization.processors if p.is_abroad is False}
    told += _silent_processors(known, {n for n, _ in found} | abroad, "gdpr:30(1)(e)")
    return tuple(told) if told else NONE


def limits_of(datasets: Iterable[DatasetFacts]) -> Value:
    """How long the data is kept (GDPR Art. 30(1)(f))."""
    found: list[Value] = []
    for dataset in datasets:
        keep, column = (
            of_policy(dataset, "retention", "keep"),
            of_policy(dataset, "retention", "from"),
        )
        if keep:
            counted = Text(en=f"counted from “{column}”", de=f"gerechnet ab „{column}“")
            found.append(Line((title_of(dataset), Period(keep), counted)))
        else:
            found.append(Line((title_of(dataset), Missing("gdpr:30(1)(f)"))))
        if duty := of_policy(dataset, "erasure", "retain"):
            found.append(
                Line((title_of(dataset), Text(en=f"not erased on request: {duty}", de=f"nicht auf Antrag gelöscht: {duty}")))
            )  # fmt: skip
    return several(found, Missing("gdpr:30(1)(f)"))


def measures_of(known: Known, datasets: Iterable[DatasetFacts]) -> Value:
    """What is done before data of these datasets is released for analysis or training: what their policies have done to columns, the guarantee
    that they ask for, and how many releases are proven (GDPR Art. 30(1)(g))."""
    found: list[Value] = []
    methods: dict[str, int] = {}
    wanted: set[int] = set()
    for dataset in datasets:
        for column in (of_policy(dataset, "columns") or {}).values():
            if method := (column.get("transform") or {}).get("method"):
                methods[method] = methods.get(method, 0) + 1
        if k := of_policy(dataset, "privacy", "k_anonymity"):
            wanted.add(int(k))
    for method, count in sorted(methods.items()):
        done = _METHODS.get(method, Text(en=method, de=method))
        found.append(Text(en=f"{done.en}: {count}", de=f"{done.de}: {count}"))
    found += [KAnonymity(k) for k in sorted(wanted)]
    made = [
        statement
        for number, statement in known.facts.releases.items()
        if any(number in known.made_from.get(d.id, ()) for d in datasets)
    ]
    if made:
        proven = sum(
            isinstance(s, ReleaseStatement) and all(c.passed for c in s.checks) for s in made
        )
        found.append(ReleasesProven(proven, len(made)))
    return several(found) if found else NONE


def origins_of(datasets: Iterable[DatasetFacts]) -> Value:
    """Where the data comes from."""
    found: list[Value] = []
    for dataset in datasets:
        kind = of_policy(dataset, "origin", "kind")
        found.append(_ORIGINS[kind] if kind else Missing("gdpr:15(1)(g)"))
        if detail := of_policy(dataset, "origin", "detail"):
            found.append(detail)
    return several(found, Missing("gdpr:15(1)(g)"))


def decisions_of(datasets: Iterable[DatasetFacts]) -> Value:
    """Decisions that only machines make (GDPR Art. 22): the logic and the effects."""
    found: list[Value] = []
    for dataset in datasets:
        stated = of_policy(dataset, "automated_decisions")
        if stated is None:
            found.append(Missing("gdpr:22(1)"))
        elif stated == "none":
            found.append(NONE)
        else:
            found += [
                Line((Text(en="Logic", de="Logik"), stated["logic"])), Line((Text(en="Effects", de="Auswirkungen"), stated["effects"])),
                Missing("gdpr:22(1)", Text(en="ground and safeguards (Art. 22(2), (3)) not stated", de="Grundlage und Schutzmaßnahmen (Art. 22 Abs. 2, 3) nicht angegeben")),
            ]  # fmt: skip
    return several(found, Missing("gdpr:22(1)"))
