"""All controls, by id: those of this package's folders, and those of other packages' entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, RootModel, Tag

from airflow_mlsec.controls._control import (
    Answer,
    Control,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Stage,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls.reasons import NotStated, QueryAnswered, Stated
from airflow_mlsec.errors import SettingError
from airflow_mlsec.extensions import entries_of, load_entry
from airflow_mlsec.ledger import AssetKind, Outcome

ENTRY_POINTS = "airflow_mlsec.controls"
# The folders that are shown first, in this order; others follow by name.
_FIRST = ("policy", "datasets", "transport", "releases")


class _Cases(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    holds: str
    fails: str


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    en: str
    de: str


class Statement(BaseModel):
    """A control that asks whether a policy states something: one YAML file. With a `stage`, it is asked when a task works
    on a dataset; without one, of every policy that the register knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: _Words
    severity: Severity
    cites: tuple[str, ...]
    remedy: _Words
    example: _Cases
    states: str
    stage: Stage | None = None


class Query(BaseModel):
    """A control that asks the register: one YAML file. ``sql`` has a row for each asset, with the columns ``asset`` (its name)
    and ``outcome`` (``pass``, ``fail``, ``unknown`` or ``not_applicable``; anything else is unknown)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: _Words
    severity: Severity
    cites: tuple[str, ...]
    remedy: _Words
    example: _Cases
    asset: AssetKind
    reads: tuple[Reads, ...]
    sql: str


def _kind_of(said: Any) -> str:
    return "query" if isinstance(said, Query) or (isinstance(said, dict) and "sql" in said) else "statement"  # fmt: skip


# What a YAML file can say.
Said = Annotated[
    Annotated[Statement, Tag("statement")] | Annotated[Query, Tag("query")],
    Discriminator(_kind_of),
]


class _File(RootModel[Said]):
    pass


def of_said(said: Statement | Query) -> type[Control]:
    """The control that a YAML file describes."""
    return of_query(said) if isinstance(said, Query) else of_statement(said)


def of_query(said: Query) -> type[Control]:
    outcomes = {o.value: o for o in (Outcome.PASS, Outcome.FAIL, Outcome.NOT_APPLICABLE)}

    def answers(self: RegisterControl, facts: Facts) -> Iterator[tuple[str, Answer]]:
        del self
        for row in facts.register.ask(said.sql):
            outcome = outcomes.get(str(row.outcome), Outcome.UNKNOWN)
            yield str(row.asset), Answer(outcome, (QueryAnswered(outcome.value),))

    body: dict[str, Any] = {
        **said.model_dump(include={"id", "cites", "reads"}),
        "__doc__": said.title.en,
        "title": Text(**said.title.model_dump()),
        "remedy": Text(**said.remedy.model_dump()),
        "severity": said.severity,
        "example": Example(**said.example.model_dump()),
        "asset": said.asset,
        "answers": answers,
    }
    return type(_class_name(said.id), (RegisterControl,), body)


def _class_name(name: str) -> str:
    return name.replace("-", " ").title().replace(" ", "")


def of_statement(said: Statement) -> type[Control]:
    def answer(self: DatasetControl, question: DatasetQuestion) -> Answer:
        del self
        return _stated(getattr(question.policy, said.states))

    def answers(self: RegisterControl, facts: Facts) -> Iterator[tuple[str, Answer]]:
        del self
        for dataset in facts.sources:
            yield str(dataset.name), _stated((dataset.policy or {}).get(said.states))

    def _stated(value: Any) -> Answer:
        return passed(Stated()) if value else failed(NotStated(said.states))

    body: dict[str, Any] = {
        **said.model_dump(include={"id", "cites"}),
        "__doc__": said.title.en,
        "title": Text(**said.title.model_dump()),
        "remedy": Text(**said.remedy.model_dump()),
        "severity": said.severity,
        "example": Example(**said.example.model_dump()),
        "reads": (Reads.POLICY,),
        "policy_key": said.states,
        "asset": AssetKind.DATASET,
    }
    name = _class_name(said.id)
    if said.stage is None:
        return type(name, (RegisterControl,), {**body, "answers": answers})
    return type(name, (DatasetControl,), {**body, "answer": answer, "stage": said.stage})


@lru_cache(maxsize=1)
def controls() -> tuple[Control, ...]:
    """All controls that are installed.

    :raises SettingError: if an entry point is not a control, two controls have the same id, or one cites a provision that the
        law catalogue does not have.
    """
    found: dict[str, Control] = {}
    for cls in [*_own(), *_others()]:
        if cls.id in found:
            raise SettingError(f"two controls are called '{cls.id}'")
        for reference in cls.cites:
            law().cited(reference)
        found[cls.id] = cls()
    return tuple(found.values())


def register_controls() -> tuple[RegisterControl, ...]:
    """The controls that are asked about everything at once."""
    return tuple(control for control in controls() if isinstance(control, RegisterControl))


def _own() -> Iterator[type[Control]]:
    names = [
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if module.ispkg and not module.name.startswith("_")
    ]
    for name in sorted(names, key=lambda n: (_FIRST.index(n) if n in _FIRST else len(_FIRST), n)):
        family = importlib.import_module(f"{__package__}.{name}")
        for cls in _of_folder(family):
            cls.family = name
            yield cls


def _of_folder(family: ModuleType) -> Iterator[type[Control]]:
    for file in sorted(resources.files(family).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            yield of_said(_File.model_validate(yaml.safe_load(file.read_text("utf-8"))).root)
    for module in sorted(pkgutil.iter_modules(family.__path__), key=lambda m: m.name):
        loaded = importlib.import_module(f"{family.__name__}.{module.name}")
        yield from _defined_in(loaded)


def _defined_in(module: ModuleType) -> Iterable[type[Control]]:
    return [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type)
        and issubclass(cls, Control)
        and cls.__module__ == module.__name__
        and hasattr(cls, "id")
    ]


def _others() -> Iterator[type[Control]]:
    for name, entry in entries_of(ENTRY_POINTS).items():
        cls = load_entry(entry, Control)
        cls.family = cls.family or name
        yield cls
