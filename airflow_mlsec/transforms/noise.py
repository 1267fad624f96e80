"""Numbers with random noise."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform
from airflow_mlsec.transforms._numeric import add_noise, top_bottom
from airflow_mlsec.transforms._people import whose


class Noise(Transform):
    """Numbers with random noise of mean 0 added. ``scale`` is the standard deviation of the normal
    distribution, the parameter b of the Laplace distribution, or the largest deviation of the uniform
    distribution. The same value of the same person (column ``by``; default: the policy's
    ``subject.key``) gets the same noise in this column, so that the noise cannot be averaged away over
    releases. Whole numbers stay whole."""

    spelled_out: ClassVar = frozenset({"distribution", "minimum", "maximum", "domain", "by"})
    leaves = Leaves.NEAR
    roles = frozenset(Role) - {Role.IDENTIFYING}
    keeps_spellings = True
    key = "noise"
    of_person = True
    folds_spellings = False

    method: Literal["noise"]
    distribution: Literal["normal", "laplace", "uniform"] = "laplace"
    scale: float = Field(gt=0, allow_inf_nan=False)
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    domain: str = Field(default="default", pattern=DOMAIN)
    by: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Noise:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError("`minimum` must be less than `maximum`")
        return self

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Numbers."""
        top_bottom(pa.array([], kind), given.column, 0.0, 1.0)

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        people, by = whose(given), given.action["by"]
        return add_noise(values, given.column, people, by, given.action, given.secret)
