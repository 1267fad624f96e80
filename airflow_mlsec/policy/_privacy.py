"""Privacy models: the guarantee that a release must hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model


class Diversity(Model):
    """l-diversity of a sensitive column in every equivalence class: at least ``l`` distinct values;
    or entropy of at least log(``l``); or recursive, the most frequent value having fewer rows
    than ``c`` times those of the ``l``-th and rarer ones together."""

    kind: Literal["distinct", "entropy", "recursive"]
    l: float = Field(gt=1, allow_inf_nan=False)  # noqa: E741 - the letter that the literature uses
    c: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _complete(self) -> Diversity:
        if (self.kind == "recursive") is (self.c is None):
            raise ValueError("recursive l-diversity needs `c`; the other kinds have none")
        if self.kind != "entropy" and self.l != int(self.l):
            raise ValueError("`l` counts values: a whole number")
        return self


class Closeness(Model):
    """Distance of at most ``t`` between a sensitive column in a class and in the whole table: all
    values equally far from each other; or ordered, numbers and dates as far as their ranks; or
    hierarchical, as far as their lowest common ancestor is high."""

    distance: Literal["equal", "ordered", "hierarchical"]
    t: float = Field(gt=0, le=1)
    hierarchy: Hierarchy | None = None

    @model_validator(mode="after")
    def _complete(self) -> Closeness:
        if (self.distance == "hierarchical") is (self.hierarchy is None):
            raise ValueError("the hierarchical distance needs a `hierarchy`; the others have none")
        return self


class Privacy(Model):
    """The guarantee that the release must hold."""

    k_anonymity: int | None = Field(default=None, ge=2)
    l_diversity: dict[str, Diversity] = Field(default={})
    t_closeness: dict[str, Closeness] = Field(default={})
    suppression_limit: float = Field(default=0.0, ge=0, le=1)
    recoding: Literal["full-domain", "local", "multidimensional"] = "full-domain"

    @property
    def class_size(self) -> int | None:
        """The least size of a released class; None if the policy has no privacy model."""
        protected = bool(self.l_diversity or self.t_closeness)
        return self.k_anonymity or (1 if protected else None)

    @property
    def protected(self) -> list[str]:
        """The sensitive columns that a privacy model protects."""
        return list(dict.fromkeys([*self.l_diversity, *self.t_closeness]))
