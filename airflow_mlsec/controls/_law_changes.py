"""What of the law is in force here, as data: clocks, controls with their provisions, letters and the catalogue; and what
changed since somebody accepted it.

An upgrade of the package changes deadlines, rules and letters. Until an administrator has seen and accepted what changed, a
control says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_mlsec.actors import Actor
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls._registry import controls
from airflow_mlsec.ledger import DEPLOYMENT, Act, Reason, Verb, acts, record, require
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import clocks, letter_templates

ACCEPTED = "law accepted"
Part = Literal["catalogue", "clocks", "controls", "letters"]
_PARTS: tuple[Part, ...] = ("catalogue", "clocks", "controls", "letters")


class LawAccepted(
    Reason,
    en="version {version} of the law catalogue, with {changes:change|changes}",
    de="Fassung {version} des Rechtskatalogs, mit {changes:Änderung|Änderungen}",
):
    """An administrator has seen what changed in clocks, controls and letters."""

    version: int
    changes: int


@dataclass(frozen=True)
class LawChange:
    """One thing that is otherwise than when the law was accepted. ``before`` and ``after`` are None for what is new or gone."""

    part: Part
    name: str
    before: Any
    after: Any

    @property
    def words(self) -> str:
        """For people."""
        if self.part == "letters":
            said = "new" if self.before is None else "gone" if self.after is None else "changed"
            return f"{self.part}: {self.name}: {said}"
        return f"{self.part}: {self.name}: {_shown(self.before)} → {_shown(self.after)}"


def law_in_force() -> dict[str, dict[str, Any]]:
    """Everything here that follows from the law, by part and name."""
    catalogue = law()
    found: dict[str, dict[str, Any]] = {
        "catalogue": {
            "version": catalogue.version,
            **{n: {"applies": _day(i.applies), "provisions": list(i.provisions)} for n, i in catalogue.instruments.items()},
        },
        "clocks": clocks(),
        "controls": {
            c.id: {
                "cites": [*c.cites], "severity": c.severity.value, "valid_from": _day(c.valid_from), "valid_to": _day(c.valid_to),
                "numbers": dict(c.parameters),
            }
            for c in controls()
        },
        "letters": dict(letter_templates()),
    }  # fmt: skip
    return found


def law_changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[LawChange]:
    """What changed between two states, key by key."""
    found = []
    for part in _PARTS:
        old, new = dict((before or {}).get(part, {})), dict(after.get(part, {}))
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append(LawChange(part, name, old.get(name), new.get(name)))
    return found


def accepted_law(register: Register) -> tuple[Act | None, Mapping[str, Any] | None]:
    """The last acceptance, and what was accepted; None if nobody ever has."""
    every = register.read(lambda c: acts(c, DEPLOYMENT, ACCEPTED))
    return (every[-1], every[-1].evidence["law"]) if every else (None, None)


def accept_law(register: Register, by: Actor) -> list[LawChange]:
    """Accept what is in force here; returns what changed since the last acceptance.

    :raises Refused: if the actor may not govern.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    _, before = accepted_law(register)
    after = law_in_force()
    changes = law_changes(before, after)
    if before is not None and not changes:
        return []
    why = LawAccepted(law().version, len(changes))
    entry = Act(DEPLOYMENT, ACCEPTED, (why,), who, register.now(), {"law": after})
    register.write(lambda c: record(c, [entry]))
    return changes


def _day(day: Any) -> str | None:
    return None if day is None else str(day)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {_shown(part)}" for name, part in value.items() if part not in (None, [], {})
        )
    return " ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)
