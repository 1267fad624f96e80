"""Privacy models: the guarantees that a release must meet."""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model


class Diversity(Model):
    """l-diversity of a sensitive column in every equivalence class. ``distinct``: at least ``l``
    distinct values. ``entropy``: an entropy of at least log(``l``). ``recursive``: the most
    frequent value has fewer rows than ``c`` times the rows of the ``l``-th most frequent value and
    all rarer ones together.

    A missing value does not count as a value. Spellings of a value (letter case, surrounding white space, Unicode
    form) count as one value unless ``fold`` is false. The values of one of the ``groups`` count as one value: somebody
    who learns that a person has one of five cancers has learnt that this person has cancer.
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
            raise ValueError("`groups` contains one value twice")
        if (self.kind == "recursive") is (self.c is None):
            raise ValueError("recursive l-diversity needs `c`; the other kinds have none")
        if self.kind != "entropy" and self.l != int(self.l):
            raise ValueError("`l` counts values, so it must be a whole number")
        return self

    def as_compared(self, value: str) -> str:
        """A value of a group in the form that is compared: the same for all spellings that count as one."""
        if not self.fold:
            return value
        # This also covers letters with two lowercase forms, and the dotted capital I.
        small = unicodedata.normalize("NFC", value).casefold().replace("i\u0307", "i")
        return small.strip()


class Closeness(Model):
    """t-closeness: the distribution of a sensitive column in a class is at most the distance ``t``
    from its distribution in the whole table. ``equal``: all values are equally far from each other.
    ``ordered``: numbers and dates are as far apart as their ranks. ``hierarchical``: values are as
    far apart as their lowest common ancestor is high."""

    distance: Literal["equal", "ordered", "hierarchical"]
    t: float = Field(gt=0, le=1)
    hierarchy: Hierarchy | None = None

    @model_validator(mode="after")
    def _complete(self) -> Closeness:
        if (self.distance == "hierarchical") is (self.hierarchy is None):
            raise ValueError("the hierarchical distance needs a `hierarchy`; the others have none")
        return self


class Likeness(Model):
    """β-likeness: how much more frequent a sensitive value may be in a class than in the whole
    table. Relative to its share in the whole table, the increase is at most ``beta`` and, if
    ``enhanced``, also at most the negative natural logarithm of that share."""

    spelled_out: ClassVar = frozenset({"enhanced"})

    beta: float = Field(gt=0, allow_inf_nan=False)
    enhanced: bool = True


class PopulationUniqueness(Model):
    """The share of people who are unique in a population of ``size`` people, estimated from the
    classes of the release, is at most ``limit``."""

    spelled_out: ClassVar = frozenset({"estimator"})

    limit: float = Field(ge=0, lt=1)
    size: int = Field(ge=1)
    estimator: Literal["dankar", "pitman", "zayatz"] = "dankar"


class Privacy(Model):
    """The guarantees that the release must meet. ``population`` is the URI of the dataset of the
    people from which the table was sampled; it has the table's quasi-identifiers."""

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
    # The highest permitted probability that a person of the population is in the table.
    delta_presence: float | None = Field(default=None, gt=0, le=1)
    average_risk: float | None = Field(default=None, gt=0, le=1)
    sample_uniqueness: float | None = Field(default=None, ge=0, lt=1)
    population_uniqueness: PopulationUniqueness | None = None
    population: str | None = Field(default=None, min_length=1)
    suppression_limit: float = Field(default=0.0, ge=0, le=1)
    recoding: Literal["full-domain", "local", "multidimensional"] = "full-domain"
    # What a plan does with rows that no released class covers, when it is applied to rows other than
    # those it was fitted on.
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
        """The minimum size of a released class; None if the policy has no privacy model."""
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
