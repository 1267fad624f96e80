"""Proposes a policy from the names and values of columns, with the evidence for each column."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.column_names import is_value
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.discovery._formats import (
    certain,
    formats,
    is_five_digits,
    is_hash,
    is_prose,
    share,
    vocabulary,
    years,
)
from airflow_mlsec.discovery._kinds import KINDS, Kind
from airflow_mlsec.discovery._names import kind_by_name, normalized
from airflow_mlsec.discovery._profile import SAMPLE, Profile, is_bytes, profile, take_sample
from airflow_mlsec.discovery._uniques import SinglingOut, minimal_uniques
from airflow_mlsec.errors import DatasetError
from airflow_mlsec.policy import NOBODY, Role

_FLAGS = {
    "0",
    "1",
    "true",
    "false",
    "yes",
    "no",
    "y",
    "n",
    "t",
    "f",
    "ja",
    "nein",
    "oui",
    "non",
    "si",
}
# How many distinct values are looked at for a single identifier.
_LOOKED_AT = 10_000
# The share of distinct values that must look like the kind. The first ones (`_SURE`) are certain by
# themselves: the name of a column cannot overrule them.
_ENOUGH = {
    "email": 0.6, "bank account": 0.6, "payment card": 0.9, "national id": 0.9, "device id": 0.8,
    "ip address": 0.8, "phone": 0.6, "precise location": 0.9, "street": 0.5, "health": 0.8, "full name": 0.35,
    "first name": 0.35,
}  # fmt: skip
_SURE = ("email", "bank account", "payment card", "national id", "device id")
# Kinds whose names things have too: in a table without any person they are not personal.
_AMBIGUOUS = {
    "full name", "first name", "last name", "street", "city", "region", "country", "location", "free text", "person id", "employer", "language",
    "occupation", "date of an event", "phone", "grade", "age", "sex", "health", "income", "date of birth", "postal code",
    "device id", "vehicle", "photograph", "personal page", "user name", "education", "body measure", "record id", "ip address",
    "criminal record", "household", "payment card", "bank account", "cookie", "precise location",
}  # fmt: skip
_TEXT_KINDS = (
    "first name",
    "last name",
    "full name",
    "street",
    "city",
    "employer",
    "occupation",
    "free text",
)
_VOCABULARY = {"blood": "health", "orientation": "sexual orientation"}


class Basis(Enum):
    """What a piece of evidence rests on."""

    NAME = "name"
    # The name is that of a thing, a technical field or a flag.
    THING = "thing"
    VALUES = "values"
    # Numbers in the range that people have; other things are in that range too.
    NUMBERS = "numbers"
    # Something that text of other kinds has as well: it counts for the column, not for the table.
    WEAK = "weak"
    # Against what the name says, or from the rest of the table.
    OTHER = "other"


@dataclass(frozen=True)
class Evidence:
    """Why a column is what is proposed: what it rests on, and a sentence for people."""

    basis: Basis
    text: str


@dataclass(frozen=True)
class Proposal:
    """What a column probably is, and why. The evidence contains names and shares, no values."""

    column: str
    kind: str
    role: Role
    category: str | None
    evidence: tuple[Evidence, ...]
    distinct: int
    uniqueness: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "column": self.column, "kind": self.kind, "role": self.role.value, "category": self.category,
            "evidence": [each.text for each in self.evidence], "distinct": self.distinct,
            "uniqueness": round(self.uniqueness, 4),
        }  # fmt: skip


@dataclass(frozen=True)
class Discovery:
    """Proposals for the columns of a dataset, and the combinations that single people out."""

    dataset: str
    rows: int
    proposals: tuple[Proposal, ...]
    singling_out: tuple[SinglingOut, ...]
    policy: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "format": "airflow-mlsec/discovery/1",
            "dataset": self.dataset,
            "rows": self.rows,
            "columns": [proposal.to_json() for proposal in self.proposals],
            "singling_out": [
                {"columns": list(s.columns), "rows": s.rows, "rows_in_all": s.rows_in_all}
                for s in self.singling_out
            ],
            "policy": self.policy,
        }


def discover(
    dataset: Dataset,
    rows: int = SAMPLE,
    combinations: bool = True,
    progress: Callable[[str], None] = lambda message: None,
) -> Discovery:
    """Look at the first ``rows`` rows and propose a policy. It is a proposal: a person must review it.

    :raises DatasetError: if the dataset has no header: a policy would name columns by a person's values.
    """
    progress(f"reading up to {rows} rows")
    table = take_sample(dataset, rows)
    for number, name in enumerate(table.schema.names, 1):
        if is_value(name):
            raise DatasetError(
                f"'{dataset.uri}': the name of column {number} looks like a value: the first line seems to be a row, "
                "not the header. Add a line with the names of the columns"
            )
    profiles = [profile(name, table.column(name)) for name in table.schema.names]
    progress(f"looking at {len(profiles)} columns")
    proposals = _with_context([_proposal(each) for each in profiles], profiles)
    found: list[SinglingOut] = []
    if combinations:
        quasi = [p.column for p in proposals if p.role is Role.QUASI_IDENTIFYING]
        progress(f"looking for combinations of {len(quasi)} quasi-identifiers")
        found = minimal_uniques(table, quasi)
    text = _policy(dataset, proposals, {p.name: p for p in profiles})
    return Discovery(dataset.uri, table.num_rows, tuple(proposals), tuple(found), text)


def identifiers_in(name: str, column: pa.ChunkedArray) -> tuple[str, int] | None:
    """The kind of what identifies people in a column, and in how many distinct values of up to 10,000; None if nothing does.
    The values decide; the name only helps to understand them."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None
    texts = pc.drop_null(column).unique().slice(0, _LOOKED_AT).cast(pa.string()).to_pylist()
    if found := certain(texts):
        return found
    seen = profile(name, column)
    made = _proposal(seen)
    by_values = any(evidence.basis is Basis.VALUES for evidence in made.evidence)
    return (made.kind, len(texts)) if made.role is Role.IDENTIFYING and by_values else None


def _proposal(found: Profile) -> Proposal:
    kind, evidence = _decide(found)
    known = KINDS[kind]
    return Proposal(
        found.name,
        kind,
        known.role,
        known.category,
        tuple(evidence),
        found.distinct,
        found.uniqueness,
    )


def _decide(found: Profile) -> tuple[str, list[Evidence]]:
    named = kind_by_name(found.name)
    by_name = (
        [Evidence(Basis.NAME, f"its name is that of: {named}")]
        if named not in (None, "other")
        else []
    )
    if not found.values:
        return named or "other", [*by_name, Evidence(Basis.OTHER, "it has no values to look at")]
    if {value.lower() for value in found.values} <= _FLAGS:
        flag = named is not None and KINDS[named].role in (Role.SENSITIVE, Role.QUASI_IDENTIFYING)
        why = [_THING] if named == "other" else [*by_name, Evidence(Basis.OTHER, "it is a flag")]
        return (named if flag and named else "other"), why
    seen = _by_values(found)
    if seen and seen[0] in _SURE and not (named and KINDS[named].role is Role.IDENTIFYING):
        return seen[0], [*by_name, seen[1]]
    if named == "other":
        return "other", [_THING]
    if named is not None and (doubt := _doubt(named, found, seen)) is None:
        return named, [*by_name, *([seen[1]] if seen else [])]
    if named is not None and not seen:
        return "other", [*by_name, Evidence(Basis.OTHER, doubt or "")]
    if seen:
        return seen[0], [*by_name, seen[1]]
    neither = "neither its name nor its values are those of personal data"
    return "other", [Evidence(Basis.OTHER, neither)]


def _by_values(found: Profile) -> tuple[str, Evidence] | None:
    """The kind that the values look like, and the evidence for it."""
    values = found.values
    if found.is_date or years(values[:50]):
        return _birth_dates(found)
    if is_hash(values) or pa.types.is_boolean(found.type):
        return None
    numbers = (
        found.is_number or share(values, lambda v: re.fullmatch(r"-?[0-9]+([.][0-9]+)?", v)) > 0.95
    )
    for kind, what, part in formats(values, numbers):
        many = kind not in ("full name", "first name", "health", "street") or found.distinct >= 8
        if part >= _ENOUGH[kind] and many and not (numbers and found.uniqueness < 0.3):
            # Products begin with a given name as well.
            basis = Basis.WEAK if kind == "full name" else Basis.VALUES
            return kind, Evidence(basis, f"{part:.0%} of its distinct values {what}")
    if known := vocabulary(values) if found.distinct <= 300 and not numbers else None:
        text = f"{known[1]:.0%} of its distinct values are words for it"
        return _VOCABULARY.get(known[0], known[0]), Evidence(Basis.VALUES, text)
    if pa.types.is_string(found.type) and is_five_digits(values):
        text = "its values have the form of postal codes of five digits"
        return "postal code", Evidence(Basis.VALUES, text)
    if not numbers and is_prose(values) and found.uniqueness > 0.2:
        text = "its values are texts of several words, almost no two alike"
        return "free text", Evidence(Basis.VALUES, text)
    return _ages(found) if found.is_number else None


def _birth_dates(found: Profile) -> tuple[str, Evidence] | None:
    of_dates = sorted(years(found.values))
    if len(of_dates) < 20:
        return None
    low, middle, high = (of_dates[int((len(of_dates) - 1) * q)] for q in (0.05, 0.5, 0.95))
    if low >= 1915 and 1935 <= middle <= 2010 and high - low >= 25 and high <= 2022:
        text = "its dates are spread over the years in which people are born"
        return "date of birth", Evidence(Basis.VALUES, text)
    return None


def _ages(found: Profile) -> tuple[str, Evidence] | None:
    if not pa.types.is_integer(found.type):
        return None
    numbers = sorted(int(value) for value in found.values)
    if len(numbers) >= 35 and numbers[0] >= 10 and 65 <= numbers[-1] <= 110:
        text = "its numbers are spread over the ages of adults"
        return "age", Evidence(Basis.NUMBERS, text)
    return None


def _doubt(kind: str, found: Profile, seen: tuple[str, Evidence] | None) -> str | None:
    """Why a column is not what its name says, or None."""
    values = found.values
    if seen is not None and seen[0] == kind:
        return None
    letters = share(values, lambda v: any(c.isalpha() for c in v))
    digits = share(values, lambda v: sum(c.isdigit() for c in v) >= 6)
    if is_hash(values) and KINDS[kind].role is Role.IDENTIFYING:
        return None  # a digest of an identifier is an identifier
    if found.is_date and kind not in ("date of birth", "date of an event", "health"):
        return "but its values are dates"
    if kind == "email" and share(values, lambda v: "@" in v) < 0.3:
        return "but its values have no @"
    if kind in ("phone", "fax") and digits < 0.5:
        return "but its values have too few digits"
    if kind == "ip address":
        return "but its values are not IP addresses"
    if kind in _TEXT_KINDS and kind not in ("occupation", "employer") and letters < 0.5:
        return "but its values are numbers"
    if (
        kind == "grade"
        and share(
            values, lambda v: bool(re.fullmatch(r"[A-Fa-f][+-]?|[0-9]{1,3}([.,][0-9]+)?( ?%)?", v))
        )
        < 0.8
        and found.distinct > 12
    ):
        return "but its values are not grades"
    if kind in ("free text",) and not is_prose(values):
        return "but its values are short"
    if kind in ("full name", "street") and found.distinct < 8 and found.present > 50:
        return "but it has only a few values"
    if kind == "date of birth" and not (found.is_date or share(values, _has_year) > 0.8):
        return "but its values are not dates"
    if kind == "date of an event" and not (found.is_date or share(values, _has_year) > 0.8):
        return "but its values are not dates"
    if kind == "age" and letters < 0.5 and share(values, lambda v: _between(v, 0, 120)) < 0.9:
        return "but its values are not ages"
    if kind == "location" and share(values, lambda v: _between(v, -180, 180)) < 0.9:
        return "but its values are not degrees"
    return None


def _has_year(value: str) -> bool:
    return bool(
        re.search(
            r"(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2}|(?:19|20)[0-9]{6}",
            value,
        )
    )


def _between(value: str, low: float, high: float) -> bool:
    try:
        return low <= float(value.replace(",", ".")) <= high
    except ValueError:
        return False


# A table with at least this number and this share of columns with personal names is about people.
_AT_LEAST, _MOSTLY = 4, 0.4
_PERSON = re.compile(
    r"\b(patient\w*|customer|kunde\w*|cliente?|client|employee|mitarbeiter\w*|personal(nummer|nr)|subscriber|student|schueler\w*|"
    r"eleve|alumno|aluno|user|member|mitglied\w*|passenger|driver|rider|applicant|insured|policy ?holder|imei|imsi|msisdn|"
    r"respondent|participant|paciente|paziente|dipendente|empleado|funcionario|socio|klant|medewerker|household|visitor)\b"
)


def _with_context(proposals: list[Proposal], profiles: Sequence[Profile]) -> list[Proposal]:
    """Names alone count as evidence only in a table about people. In such a table a key that is different
    in every row is also one of persons."""
    personal = sum(proposal.role is not Role.INSENSITIVE for proposal in proposals)
    by_values = {
        p.kind for p in proposals if p.role is not Role.INSENSITIVE and _rests_on(p, Basis.VALUES)
    }
    of_people = (
        len(by_values) >= 2
        or (personal >= _AT_LEAST and personal >= _MOSTLY * len(proposals))
        or any(_tells_of_people(proposal) for proposal in proposals)
        or any(_PERSON.search(normalized(found.name)) for found in profiles)
    )
    by_points = _points(proposals) >= _ENOUGH_POINTS
    of_people = of_people or by_points
    made = []
    for proposal, found in zip(proposals, profiles, strict=True):
        if not of_people and proposal.kind in _AMBIGUOUS:
            proposal = _as(proposal, "other", "nothing else in the table is about people")
        alone = found.distinct >= 50 and found.uniqueness >= 0.999
        if of_people and proposal.kind == "other" and alone and _is_key(found):
            proposal = _as(proposal, "person id", "every row has its own, in a table of people")
        elif of_people and proposal.kind == "other" and not _is_of_a_thing(proposal, found):
            proposal = _doubtful(proposal, found)
        made.append(proposal)
    return made


# Kinds that only persons have, and kinds that mostly persons have: a column's name counts, and so do its values.
_ONLY_PERSONS = {"age", "sex", "date of birth", "ethnicity", "marital status", "religion", "first name", "last name",
                 "sexual orientation", "national id"}  # fmt: skip
_MOSTLY_PERSONS = {
    "education", "occupation", "income", "household", "health", "body measure", "nationality", "politics", "person id",
    "record id", "union", "criminal record", "grade", "full name", "email", "phone", "language", "employer", "genetics",
}  # fmt: skip
_ENOUGH_POINTS = 2


def _points(proposals: Sequence[Proposal]) -> int:
    """How strongly all columns together indicate that a table is about people, if no single one does."""
    found: dict[str, int] = {}
    for proposal in proposals:
        weight = 2 * (proposal.kind in _ONLY_PERSONS) + (proposal.kind in _MOSTLY_PERSONS)
        if weight:
            seen = _rests_on(proposal, Basis.VALUES, Basis.NUMBERS)
            named = _rests_on(proposal, Basis.NAME, Basis.THING)
            # Numbers and dates that look like those of people also belong to other things.
            points = weight + seen if named else 1
            found[proposal.kind] = max(found.get(proposal.kind, 0), points)
    return sum(found.values())


_THING = Evidence(Basis.THING, "its name is that of a thing, a technical field or a flag")
# A column with more distinct values is a measurement, not a choice from a list.
_CHOSEN = 20


def _is_of_a_thing(proposal: Proposal, found: Profile) -> bool:
    # Nested values and bytes are dropped anyway.
    opaque = pa.types.is_nested(found.type) or is_bytes(found.type)
    return _rests_on(proposal, Basis.THING) or opaque or not found.values


def _doubtful(proposal: Proposal, found: Profile) -> Proposal:
    """A column without any evidence counts as personal all the same in a table about people: it gets the stricter
    role until somebody who knows better says otherwise."""
    if found.is_date:
        kind = "date of an event"
    else:
        kind = "characteristic" if found.distinct <= _CHOSEN else "measurement"
    why = "doubtful: nothing shows what it is, and the table is about people"
    known = KINDS[kind]
    return replace(
        proposal,
        kind=kind,
        role=known.role,
        category=known.category,
        evidence=(Evidence(Basis.OTHER, why),),
    )


def _as(proposal: Proposal, kind: str, why: str) -> Proposal:
    known = KINDS[kind]
    evidence = (*(e for e in proposal.evidence if kind == "other"), Evidence(Basis.OTHER, why))
    return replace(proposal, kind=kind, role=known.role, category=known.category, evidence=evidence)


def _is_key(found: Profile) -> bool:
    return bool(
        re.fullmatch(r"(?i)(id|uid|uuid|guid|key|pk|index|row ?id|record ?id|nr|no)", found.name)
    )


def _rests_on(proposal: Proposal, *bases: Basis) -> bool:
    """Whether some of the evidence for a column is of one of these kinds."""
    return any(each.basis in bases for each in proposal.evidence)


def _tells_of_people(proposal: Proposal) -> bool:
    """Whether a column can only be about people: by what its values are, or by an unmistakable name."""
    if proposal.role is Role.INSENSITIVE:
        return False
    seen = _rests_on(proposal, Basis.VALUES)
    sure = (
        "email",
        "phone",
        "full name",
        "national id",
        "date of birth",
        "first name",
        "payment card",
        "bank account",
    )
    by_words = ("ethnicity", "religion", "marital status", "sexual orientation")
    return proposal.kind not in _AMBIGUOUS or (seen and proposal.kind in (*sure, *by_words))


def _policy(dataset: Dataset, proposals: Sequence[Proposal], profiles: dict[str, Profile]) -> str:
    """The proposed policy as YAML, with the evidence above each column."""
    lines = [
        "# A proposal, made from names and a sample of values: read every line before you rely on it.",
        "version: 1",
        f"dataset: {json.dumps(dataset.uri, ensure_ascii=False)}",
        "# Nobody can use it until its owner is named here.",
        f"owner: {NOBODY}",
    ]
    keys = [
        p.column
        for kind in ("person id", "record id", "user name", "email")
        for p in proposals
        if p.kind == kind
    ]
    if keys:
        lines.append(f"subject: {{kind: person, key: {json.dumps(keys[0], ensure_ascii=False)}}}")
    lines.append("columns:")
    for proposal in proposals:
        lines.append(f"  # {proposal.kind}: {'; '.join(each.text for each in proposal.evidence)}")
        lines.append(
            f"  {json.dumps(proposal.column, ensure_ascii=False)}: {_column(proposal, profiles[proposal.column])}"
        )
    if any(p.role is Role.QUASI_IDENTIFYING for p in proposals):
        lines.append("privacy: {k_anonymity: 5, suppression_limit: 0.05, recoding: local}")
    return "\n".join(lines) + "\n"


def _column(proposal: Proposal, found: Profile) -> str:
    kind = KINDS[proposal.kind]
    said: dict[str, Any] = {"role": kind.role.value}
    if kind.category:
        said["category"] = kind.category
    if kind.transform:
        said["transform"] = kind.transform
    if kind.role is Role.QUASI_IDENTIFYING:
        said["hierarchy"] = _hierarchy(kind, found)
    if kind.name == "free text":
        said["free_text"] = True
    if pa.types.is_nested(found.type) or is_bytes(found.type):
        said = {"role": Role.IDENTIFYING.value, "transform": {"method": "drop"}}
    return json.dumps(said, ensure_ascii=False)


def _hierarchy(kind: Kind, found: Profile) -> dict[str, Any]:
    """The kind's hierarchy, if the column's type has one."""
    wanted = kind.hierarchy or {"kind": "suppress"}
    if wanted["kind"] == "date" and not found.is_date:
        return (
            {"kind": "interval", "widths": [5, 10, 20]} if found.is_number else {"kind": "suppress"}
        )
    if wanted["kind"] == "interval" and not found.is_number:
        return {"kind": "suppress"}
    return wanted
