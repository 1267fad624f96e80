"""Values at one level of a hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from airflow_mlsec import hierarchies
from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy import Given, Hierarchy, Leaves, Role, Transform


class Generalize(Transform):
    """The column's values at one fixed level of a hierarchy (0 is the value itself)."""

    spelled_out: ClassVar = frozenset({"level"})
    leaves = Leaves.NEAR
    roles = frozenset(Role)
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["generalize"]
    hierarchy: Hierarchy
    level: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _known(self) -> Generalize:
        if self.hierarchy.kind == "automatic":
            raise ValueError(
                "an automatic hierarchy is computed when a privacy model is fitted; a fixed level needs intervals"
            )
        return self

    def unsuited(self, role: Role) -> str | None:
        """A prefix can be the whole of a short identifier, and at a fixed level its length must be given."""
        if self.hierarchy.kind == "prefix":
            if role is Role.IDENTIFYING:
                return "a prefix can leave a short identifier whole; use mask, pseudonymize or drop"
            if self.hierarchy.keep is None:
                return "a fixed prefix needs `keep`, for example [2]"
        return super().unsuited(role)

    def action(self, column: str, source: str) -> dict[str, Any]:
        """With the hierarchy as it is fitted.

        :raises PolicyError: if it does not have the level.
        """
        levels = hierarchies.fit_hierarchy(self.hierarchy, 32, source)
        if self.level > levels.height:
            raise PolicyError(
                f"{source}: column '{column}': level {self.level} does not exist; the hierarchy's last level, where "
                f"everything is '*', is {levels.height}"
            )
        return {"method": self.method, "hierarchy": levels.to_json(), "level": self.level}

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """The types that the hierarchy accepts."""
        levels = hierarchies.from_json(given.action["hierarchy"])
        hierarchies.label(levels, pa.array([], kind), 1, given.column)

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class. Level 0, which only a fitted plan has, leaves values as they are."""
        levels = hierarchies.from_json(given.action["hierarchy"])
        if given.action["level"] == 0:
            return values
        return hierarchies.label(levels, values, given.action["level"], given.column)

    @classmethod
    def says(cls, action: Mapping[str, Any]) -> str:
        """The level, and the kind of hierarchy."""
        if action["level"] == 0:
            return "IDENTITY"
        if "hierarchy" not in action:
            return "generalize to the values of its class"
        return f"generalize to level {action['level']} of {action['hierarchy']['kind']}"
