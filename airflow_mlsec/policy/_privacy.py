"""Privacy models: the guarantee that a release must hold."""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model


class Diversity(Model):
    """l-diversity of a sensitive column in every equivalence class: at least ``l`` distinct values;
    or entropy of at least log(``l``); or recursive, the most frequent value having fewer rows
    than ``c`` times those of the ``l``-th and rarer ones together.

    A missing value is none, and spellings of one value (letter case, white space around it, Unicode form) are one
    unless ``fold`` is false. Values of one of the ``groups`` count as one: who learns that somebody has one of five
    cancers has learnt that this person has cancer.
    """

    spelled_out: ClassVar = frozenset({"c"})

    kind: Literal["distinct", "entropy", "recursive"]
    l: float = Field(gt=1, allow_inf_nan=False)  # noqa: E741 - the letter that the literature uses
    c: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    fold: bool = True
    groups: dict[str, list[str]] = Field(default={})

    @model_validator(mode="after")
    def _complete(self) -> Diversity:
        listed = [self.as_compared(value) for values in self.groups.values() for value in values]
        if len(set(listed)) < len(listed):
            raise ValueError("`groups` has one value twice")
        if (self.kind == "recursive") is (self.c is None):
            raise ValueError("recursive l-diversity needs `c`; the other kinds have none")
        if self.kind != "entropy" and self.l != int(self.l):
            raise ValueError("`l` counts values: a whole number")
        return self

    def as_compared(self, value: str) -> str:
        """A value of a group in a form that is the same for all spellings that are compared as one."""
        if not self.fold:
            return value
        # Of letters with two small forms, or a dot of their own, as well.
        small = unicodedata.normalize("NFC", value).casefold().replace("i\u0307", "i")
        return small.strip()


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


class Likeness(Model):
    """How much more frequent a sensitive value may be in a class than in the whole table: by at most
    ``beta`` of its share there, and, if ``enhanced``, by no more than the logarithm of that share
    allows."""

    spelled_out: ClassVar = frozenset({"enhanced"})

    beta: float = Field(gt=0, allow_inf_nan=False)
    enhanced: bool = True


class PopulationUniqueness(Model):
    """The share of people who are unique in a population of ``size``, as estimated from the classes of
    the release, is at most ``limit``."""

    spelled_out: ClassVar = frozenset({"estimator"})

    limit: float = Field(ge=0, lt=1)
    size: int = Field(ge=1)
    estimator: Literal["dankar", "pitman", "zayatz"] = "dankar"


class Privacy(Model):
    """The guarantee that the release must hold. ``population`` is the dataset (a URI) of the people
    from whom the table was drawn, with its quasi-identifiers."""

    spelled_out: ClassVar = frozenset(
        {"k_anonymity", "l_diversity", "t_closeness", "suppression_limit", "recoding"}
    )

    k_anonymity: int | None = Field(default=None, ge=2)
    k_map: int | None = Field(default=None, ge=2)
    l_diversity: dict[str, Diversity] = Field(default={})
    t_closeness: dict[str, Closeness] = Field(default={})
    delta_disclosure: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default={}
    )
    beta_likeness: dict[str, Likeness] = Field(default={})
    # The most likely it may be that somebody of the population is in the table.
    delta_presence: float | None = Field(default=None, gt=0, le=1)
    average_risk: float | None = Field(default=None, gt=0, le=1)
    sample_uniqueness: float | None = Field(default=None, ge=0, lt=1)
    population_uniqueness: PopulationUniqueness | None = None
    population: str | None = Field(default=None, min_length=1)
    suppression_limit: float = Field(default=0.0, ge=0, le=1)
    recoding: Literal["full-domain", "local", "multidimensional"] = "full-domain"
    # What a plan does with rows that no released class covers, when it is applied to others than those
    # that it was fitted on.
    unseen: Literal["suppress", "refuse"] = "suppress"

    @model_validator(mode="after")
    def _complete(self) -> Privacy:
        against = self.k_map is not None or self.delta_presence is not None
        if against and self.population is None:
            raise ValueError("k_map and delta_presence need a `population`: the URI of its dataset")
        if self.population is not None and not against:
            raise ValueError("`population` is for k_map and delta_presence; the policy has neither")
        return self

    @property
    def class_size(self) -> int | None:
        """The least size of a released class; None if the policy has no privacy model."""
        others = (
            self.k_map, self.delta_presence, self.average_risk, self.sample_uniqueness,
            self.population_uniqueness,
        )  # fmt: skip
        protected = bool(self.protected) or any(model is not None for model in others)
        return self.k_anonymity or (1 if protected else None)

    @property
    def protected(self) -> list[str]:
        """The sensitive columns that a privacy model protects."""
        models = self.l_diversity, self.t_closeness, self.delta_disclosure, self.beta_likeness
        return list(dict.fromkeys(name for model in models for name in model))
