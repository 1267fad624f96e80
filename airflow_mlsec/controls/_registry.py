"""All controls, by id: those of this package's folders, and those of other packages' entry points."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from airflow_mlsec.controls import datasets, policy, releases, transport
from airflow_mlsec.controls._control import (
    Answer,
    Control,
    DatasetControl,
    DatasetQuestion,
    Stage,
    failed,
    passed,
)
from airflow_mlsec.controls.reasons import NotStated, Stated
from airflow_mlsec.errors import SettingError
from airflow_mlsec.extensions import entries_of, load_entry

ENTRY_POINTS = "airflow_mlsec.controls"
# In the order in which they are shown.
_FAMILIES = (policy, datasets, transport, releases)


class _Statement(BaseModel):
    """A control that asks whether the policy states something: one YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    source: str
    stage: Stage
    states: str


def _of_statement(said: _Statement) -> type[DatasetControl]:
    def answer(self: DatasetControl, question: DatasetQuestion) -> Answer:
        del self
        value = getattr(question.policy, said.states)
        return passed(Stated()) if value else failed(NotStated(said.states))

    body: dict[str, Any] = {**said.model_dump(exclude={"states"}), "answer": answer}
    body["__doc__"] = said.title
    return type(said.id.replace("-", " ").title().replace(" ", ""), (DatasetControl,), body)


@lru_cache(maxsize=1)
def controls() -> tuple[Control[Any], ...]:
    """All controls that are installed.

    :raises SettingError: if an entry point is not a control, or two controls have the same id.
    """
    found: dict[str, Control[Any]] = {}
    for cls in [*_own(), *_others()]:
        if cls.id in found:
            raise SettingError(f"two controls are called '{cls.id}'")
        found[cls.id] = cls()
    return tuple(found.values())


def _own() -> list[type[Control[Any]]]:
    classes: list[type[Control[Any]]] = []
    for family in _FAMILIES:
        folder = resources.files(family)
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".yaml"):
                said = _Statement.model_validate(yaml.safe_load(file.read_text()))
                classes.append(_of_statement(said))
        for module in sorted(pkgutil.iter_modules(family.__path__), key=lambda m: m.name):
            loaded = importlib.import_module(f"{family.__name__}.{module.name}")
            classes += [
                cls
                for cls in vars(loaded).values()
                if isinstance(cls, type)
                and issubclass(cls, Control)
                and cls.__module__ == loaded.__name__
                and hasattr(cls, "id")
            ]
    return classes


def _others() -> list[type[Control[Any]]]:
    entries = entries_of(ENTRY_POINTS).values()
    return [load_entry(entry, Control) for entry in entries]  # type: ignore[type-abstract]
