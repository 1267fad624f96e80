"""What is known about a place, in words for the person whose data is there: no paths, no codes, nothing made up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from airflow_mlsec.column_names import numbered
from airflow_mlsec.ledger import Reason
from airflow_mlsec.policy import Controller, Organization, Party
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.letters._letters import category_name, localized, spoken, words_of
from airflow_mlsec.subjects.requests._request import Step
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._copies import COPIES
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._scan import ROOT

# A letter is read by a person: the rest is in the files.
ROWS_SHOWN = 100
# What a policy says if nobody receives the data.
NOBODY_RECEIVES: Literal["none"] = "none"
_ENDINGS = re.compile(
    r"(\.(parquet|csv|tsv|jsonl?|ndjson|feather|arrow|ipc|orc|avro|sqlite|db|txt|gz|zst|bz2|xz|snappy|lz4|age|skops|onnx|pt|safetensors))+$",
    re.IGNORECASE,
)
_BREAKS = re.compile(r"[\s_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class ColumnFacts:
    """A column of a table in a letter."""

    title: str
    category: str | None = None


@dataclass(frozen=True)
class PlaceFacts:
    """One dataset, as a letter describes it (GDPR Art. 15(1)). What is None or empty, nobody has recorded."""

    label: str
    controller: str | None
    purposes: Sequence[Mapping[str, str] | str]
    basis: str | None
    basis_source: Mapping[str, str] | str | None
    categories: Sequence[str]
    keep: str | None
    keep_from: str | None
    # ``none``: it is stated that nobody receives it.
    recipients: Sequence[Party] | Literal["none"]
    # What the disclosure to a recipient, by name, is under the CCPA.
    disclosures: Mapping[str, str]
    origin: str | None
    origin_detail: Mapping[str, str] | str | None
    decisions: Any
    columns: Sequence[ColumnFacts] = ()
    rows: Sequence[Sequence[str]] = ()
    more: int = 0
    # The name of its files in the archive, without ending.
    file: str = ""
    # Whether the person provided it (GDPR Art. 20(1)).
    provided: bool | None = None


@dataclass(frozen=True)
class Named:
    """A place that a letter only names, and why."""

    label: str
    why: str = ""
    rows: int | None = None
    status: str = ""
    columns: Sequence[str] = ()
    # Why its data is processed, and who receives it, where a letter has to say so.
    facts: PlaceFacts | None = None


class Labels:
    """What places are called in one letter: by the title in their policy, else by the last part of their name. Two
    different places never have one label."""

    def __init__(
        self,
        places: Iterable[Place],
        language: str,
        templates: Path | None = None,
        clean: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._language = language
        self._words = words_of(language, templates)
        self._places = {place.name: place for place in places}
        self._clean = clean
        self._given: dict[str, str] = {}
        self._used: Counter[str] = Counter()

    def of(self, name: str, kind: str = "table") -> str:
        """The label of a place, by its name in the register."""
        if name not in self._given:
            label = self._label(name, kind)
            self._used[label] += 1
            self._given[name] = (
                label if self._used[label] == 1 else f"{label} ({self._used[label]})"
            )
        return self._given[name]

    def column(self, name: str, policy: Mapping[str, Any]) -> str:
        """The label of a column."""
        told = (policy.get("columns") or {}).get(name, {}).get("title")
        return localized(told, self._language) or plain_name(name)

    def _label(self, name: str, kind: str) -> str:
        unnamed: Mapping[str, str] = self._words["unnamed"]
        if kind in (ROOT, AIRFLOW, COPIES):
            return unnamed[{ROOT: "root", AIRFLOW: "airflow", COPIES: "copies"}[kind]]
        place = self._places.get(name)
        title = (place.policy or {}).get("title") if place is not None else None
        if title and place is not None and place.stage != "release":
            return str(localized(title, self._language))
        # A file may be named after a person, who may be somebody else.
        return self._clean(plain_name(name)) or unnamed.get(kind, unnamed["table"])


def plain_name(name: str) -> str:
    """The last part of a path or of a qualified name, without ending, in words."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    bare = _ENDINGS.sub("", last)
    if "/" in name and "." in bare and "@" not in bare and "://" in name and bare == last:
        # A table: database, schema and name.
        bare = bare.rsplit(".", 1)[-1]
    return _HUMP.sub(" ", _BREAKS.sub(" ", bare)).strip()


def policy_of(place: Place, every: Iterable[Place]) -> Mapping[str, Any]:
    """The policy that says why a place's data is there: its own, else that of what it was made from, if that is one."""
    if place.policy:
        return place.policy
    sources = [p.policy for p in every if p.id in place.sources and p.policy]
    return sources[0] if len(sources) == 1 else {}


def facts_of(
    place: Place,
    every: Sequence[Place],
    labels: Labels,
    organization: Organization,
    language: str,
    rows: Sequence[Mapping[str, Any]],
    file: str,
) -> PlaceFacts:
    """What a letter says about a place, with its rows that are in the archive."""
    policy = policy_of(place, every)
    basis, retention = policy.get("lawful_basis") or {}, policy.get("retention") or {}
    columns = policy.get("columns") or {}
    names = list(rows[0]) if rows else _kept_columns(place, columns)
    kinds = {name: columns.get(name, {}).get("category") for name in names}
    told = {name: category_name(kind, language) for name, kind in kinds.items() if kind}
    # The first line of a file without a header is a row about somebody else.
    shown = dict(zip(names, numbered(names), strict=True))
    origin, detail = origin_of(place, policy)
    keep_from = retention.get("from")
    return PlaceFacts(
        label=labels.of(place.name, place.kind),
        controller=policy.get("controller"),
        purposes=policy.get("purposes") or (),
        basis=basis.get("basis"),
        basis_source=basis.get("source"),
        categories=sorted(set(told.values())),
        keep=retention.get("keep"),
        keep_from=None if keep_from is None else labels.column(keep_from, policy),
        recipients=recipients_of(policy, organization),
        disclosures={
            r["name"]: r["disclosure"] for r in listed_recipients(policy) if r.get("disclosure")
        },
        origin=origin,
        origin_detail=detail,
        decisions=policy.get("automated_decisions"),
        columns=[]
        if not rows
        else [
            ColumnFacts(
                labels.column(name, policy) if shown[name] == name else shown[name], told.get(name)
            )
            for name in names
        ],
        rows=[["" if v is None else str(v) for v in row.values()] for row in rows[:ROWS_SHOWN]],
        more=max(0, len(rows) - ROWS_SHOWN),
        file=file,
        provided=provided_by_person(place, policy),
    )


def origin_of(place: Place, policy: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Where a place's data comes from, and what its policy says beyond that (GDPR Art. 15(1)(g))."""
    if place.stage == "release":
        return "pseudonymous", None
    if place.parents:
        return "derived", None
    stated = policy.get("origin") or {}
    return stated.get("kind"), stated.get("detail")


def provided_by_person(place: Place, policy: Mapping[str, Any]) -> bool | None:
    """Whether the person provided a place's data (GDPR Art. 20(1)); None if nobody has recorded it."""
    origin, _ = origin_of(place, policy)
    return None if origin is None else origin == "person"


def listed_recipients(policy: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The recipients that a policy lists."""
    stated = policy.get("recipients") or ()
    return [] if stated == NOBODY_RECEIVES else list(stated)


def recipients_of(
    policy: Mapping[str, Any], organization: Organization
) -> list[Party] | Literal["none"]:
    """Who receives the data, with what `organization.yaml` says of them."""
    if policy.get("recipients") == NOBODY_RECEIVES:
        return NOBODY_RECEIVES
    names = [recipient["name"] for recipient in listed_recipients(policy)]
    return [organization.party(name) or Party(name=name) for name in names]


def _kept_columns(place: Place, columns: Mapping[str, Any]) -> list[str]:
    """The columns of which something is in a place whose rows are not shown."""
    released = place.stage == "release" or place.kind in ("model", "artifact")

    def is_dropped(name: str) -> bool:
        return ((columns[name].get("transform") or {}).get("method")) == "drop"

    return [name for name in columns if not (released and is_dropped(name))]


def controllers_of(
    policies: Iterable[Mapping[str, Any]], organization: Organization
) -> list[Controller]:
    """The controllers of some datasets; if none of them names one, the only one that there is."""
    names = dict.fromkeys(p["controller"] for p in policies if p.get("controller"))
    found = [organization.controller(name) or Controller(name=name) for name in names]
    only = organization.controller(None)
    return found or ([only] if only else [])


def why_kept(step: Step, language: str) -> str:
    """Why a place keeps data of the person, for the person. Not every reason is for the person to read: some name staff
    or files."""
    told: list[str] = []
    for reason in step.reasons:
        for inner in reason.inner():
            if text := _for_person(inner, language):
                told.append(text)
    return "; ".join(dict.fromkeys(told))


def _for_person(reason: Reason, language: str) -> str | None:
    if isinstance(reason, reasons.KeptByLaw):
        return reason.duty
    if isinstance(reason, reasons.KeptByHold | reasons.SettledByHand):
        return reason.reason
    if isinstance(reason, reasons.MentionsKept):
        return in_words(reasons.OthersMention(), language)
    return None


def in_words(reason: Reason, language: str) -> str:
    """A reason that is made for letters, in words."""
    return str(reason.words(spoken(language)))
