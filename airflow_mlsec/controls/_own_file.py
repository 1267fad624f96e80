"""What an organization says about controls in its own file (`[mlsec] controls_file`): controls of its own, the numbers that
it has set for others, those that it has muted, and its own frameworks.

A muted control is still asked, and what it finds is kept: it only does not count for whether a check fails, and every
report says that it is muted, by whom, why and until when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field

from airflow_mlsec.controls._control import Control
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls._registry import Said, controls, of_said
from airflow_mlsec.errors import SettingError, UsageError
from airflow_mlsec.ledger import Language
from airflow_mlsec.policy import Model, load_beside
from airflow_mlsec.settings import Settings

FAMILY = "own"
_Text = Annotated[str, Field(pattern=r"\S")]
# Ten years: nobody means more.
_Number = Annotated[int, Field(strict=True, ge=0, le=3650)]
# For how long something can be muted without anybody looking again.
_LONGEST = timedelta(days=366)


class Muted(Model):
    """Why a control does not count for a time."""

    owner: _Text
    reason: _Text
    until: date


class Framework(Model):
    """Controls that somebody asks for together, such as a customer or an auditor."""

    title: dict[Language, str]
    controls: list[_Text] = Field(min_length=1)


class OwnFile(Model):
    """The file."""

    version: Literal[1]
    parameters: dict[str, dict[str, _Number]] = Field(default={})
    muted: dict[str, Muted] = Field(default={})
    frameworks: dict[str, Framework] = Field(default={})
    controls: list[Said] = Field(default=[])


@dataclass(frozen=True)
class ControlSet:
    """The controls in force: those that are installed, and the organization's own."""

    controls: tuple[Control, ...]
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    muted: Mapping[str, Muted] = field(default_factory=dict)
    frameworks: Mapping[str, Framework] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> ControlSet:
        """The controls of the settings in force.

        :raises PolicyError: if the organization's file is not valid.
        :raises SettingError: if it names a control or a number that there is not.
        """
        path = settings.controls_file
        said = load_beside(OwnFile, path, "file of controls") if path is not None else None
        if said is None:
            return cls(controls())
        own = []
        for statement in said.controls:
            made = of_said(statement)
            made.family = FAMILY
            own.append(made())
        found = cls((*controls(), *own), said.parameters, said.muted, said.frameworks)
        found._require_known(str(path))
        return found

    def _require_known(self, path: str) -> None:
        known = {control.id: control for control in self.controls}
        if len(known) != len(self.controls):
            ids = [control.id for control in self.controls]
            twice = next(name for name in ids if ids.count(name) > 1)
            raise SettingError(f"{path}: two controls are called '{twice}'")
        for control in self.controls:
            for reference in control.cites:
                law().cited(reference)
        named = [
            *self.parameters,
            *self.muted,
            *(c for f in self.frameworks.values() for c in f.controls),
        ]
        if missing := [name for name in named if name not in known]:
            raise SettingError(f"{path}: there is no control '{missing[0]}' (mlsec controls list)")
        for name, numbers in self.parameters.items():
            if odd := sorted({*numbers} - {*known[name].parameters}):
                has = ", ".join(known[name].parameters) or "none"
                raise SettingError(
                    f"{path}: control '{name}' has no number '{odd[0]}'; it has {has}"
                )

    def is_muted(self, control: Control, on: date) -> Muted | None:
        """Why a control does not count on a day; None if it counts: also if it is muted for longer than a year from then."""
        found = self.muted.get(control.id)
        return found if found is not None and on <= found.until <= on + _LONGEST else None

    def why_muted(self, control: Control, on: date) -> str:
        """Why a control does not count on a day, for people; empty if it counts."""
        found = self.is_muted(control, on)
        return "" if found is None else f"until {found.until} by {found.owner}: {found.reason}"

    def chosen(
        self,
        ids: Sequence[str] = (),
        families: Sequence[str] = (),
        frameworks: Sequence[str] = (),
    ) -> list[Control]:
        """Controls by id, family or framework (an instrument of the law catalogue, or one of the organization's); all, if
        nothing is chosen.

        :raises UsageError: if there is no such control, family or framework.
        """
        known = {control.id: control for control in self.controls}
        wanted: set[str] = set()
        for name in ids:
            if name not in known:
                raise UsageError(f"there is no control '{name}' (mlsec controls list)")
            wanted.add(name)
        for family in families:
            of_family = {c.id for c in self.controls if c.family == family}
            if not of_family:
                raise UsageError(f"there is no family '{family}'; there are {', '.join(sorted({c.family for c in self.controls}))}")  # fmt: skip
            wanted |= of_family
        for framework in frameworks:
            wanted |= self._of_framework(framework)
        chosen = bool(ids or families or frameworks)
        return [c for c in self.controls if not chosen or c.id in wanted]

    def _of_framework(self, name: str) -> set[str]:
        if name in self.frameworks:
            return {*self.frameworks[name].controls}
        found = {c.id for c in self.controls if any(r.partition(":")[0] == name for r in c.cites)}
        if not found and name in law().instruments:
            raise UsageError(f"no control cites '{name}' yet")
        if not found:
            known = ", ".join([*self.frameworks, *law().instruments])
            raise UsageError(f"there is no framework '{name}'; there are {known}")
        return found


def of_register(chosen: Iterable[Control]) -> list[RegisterControl]:
    """Those that are asked about everything at once."""
    return [control for control in chosen if isinstance(control, RegisterControl)]
