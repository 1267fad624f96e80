"""What documents are made from: what policies and the organization declare, what the register knows, what controls find
now, and what people have written for a document that nothing else can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from airflow_mlsec.controls import ControlSet, DatasetFacts, Evaluated, Facts, evaluate, of_register
from airflow_mlsec.ledger import ReleaseStatement
from airflow_mlsec.policy import Controller, Model, Organization, load_beside
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Known:
    """Everything that documents are made from.

    :ivar folder: Where people have written what only they can tell: that of the organization's file.
    """

    facts: Facts
    controls: ControlSet
    folder: Path

    @classmethod
    def of(cls, settings: Settings, register: Register) -> Known:
        """What is known in this installation.

        :raises PolicyError: if a file of the organization is not valid.
        """
        chosen = ControlSet.of(settings)
        facts = Facts.of(settings, register, parameters=chosen.parameters)
        return cls(facts, chosen, settings.organization.parent)

    @property
    def organization(self) -> Organization:
        """Who we are."""
        return self.facts.organization

    @cached_property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """What every control of the register finds now."""
        return tuple(evaluate(self.facts, of_register(self.controls.controls)))

    def stated(self, model: type[M], name: str, what: str) -> M | None:
        """What people have written in a file of the folder; None if there is no file.

        :raises PolicyError: if it is not valid.
        """
        return load_beside(model, self.folder / name, what)

    @property
    def controllers(self) -> tuple[str, ...]:
        """The names of all controllers: those of the organization, and others that policies name."""
        named = [c.name for c in self.organization.controllers]
        stated = [of_policy(dataset, "controller") for dataset in self.facts.sources]
        # Without a name: of datasets whose controller nobody has stated, if there is nobody else whose they can be.
        nobodys = [""] if not named and any(self.controller_of(d) is None for d in self.facts.sources) else []  # fmt: skip
        return tuple(dict.fromkeys([*named, *(str(name) for name in stated if name), *nobodys]))

    def controller_of(self, dataset: DatasetFacts) -> str | None:
        """The name of a dataset's controller (`controller_of`)."""
        return controller_of(dataset, self.organization)

    @cached_property
    def made_from(self) -> Mapping[int, frozenset[int]]:
        """By dataset id: all that was made from it, directly or not."""
        targets: dict[int, list[int]] = {}
        for dataset in self.facts.datasets:
            for source in dataset.sources:
                targets.setdefault(source, []).append(dataset.id)
        found = {}
        for dataset in self.facts.sources:
            seen: set[int] = set()
            waiting = [dataset.id]
            while waiting:
                new = [t for t in targets.get(waiting.pop(), ()) if t not in seen]
                seen.update(new)
                waiting += new
            found[dataset.id] = frozenset(seen - {dataset.id})
        return found

    @cached_property
    def undeclared(self) -> tuple[DatasetFacts, ...]:
        """Personal data, or what may be, that no policy declares and that was not made from declared data; and what is said to be
        a release, without signed evidence: of that nobody knows what is in it."""
        explained = {t for made in self.made_from.values() for t in made}
        return tuple(
            d
            for d in self.facts.datasets
            if (d.policy is None and d.is_personal and d.id not in explained)
            or (
                d.stage == "release"
                and not isinstance(self.facts.releases.get(d.id), ReleaseStatement)
            )
        )


def of_policy(dataset: DatasetFacts, *path: str) -> Any:
    """What a dataset's policy states, at a path of keys; None if it does not."""
    found: Any = dataset.policy
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def controller_of(dataset: DatasetFacts, organization: Organization) -> str | None:
    """The name of a dataset's controller: its policy's; without one, the organization's only one."""
    named = of_policy(dataset, "controller")
    if named is not None:
        return str(named)
    only: Controller | None = organization.controller(None)
    return None if only is None else only.name
