"""Hierarchies: how a value is generalized level by level."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from airflow_mlsec.policy._model import Model


class DateHierarchy(Model):
    """Dates truncated to larger units at each level, with labels such as ``1987-05``, ``1987``,
    ``1980s``."""

    spelled_out: ClassVar = frozenset({"levels"})

    kind: Literal["date"]
    levels: list[Literal["day", "month", "quarter", "year", "decade", "century"]] = Field(
        default=["month", "year", "decade"], min_length=1
    )

    @field_validator("levels")
    @classmethod
    def _coarser(cls, levels: list[str]) -> list[str]:
        order = ["day", "month", "quarter", "year", "decade", "century"]
        if [order.index(level) for level in levels] != sorted({order.index(v) for v in levels}):
            raise ValueError("levels must go from finer to coarser, each once")
        return levels


class IntervalHierarchy(Model):
    """Numbers in half-open intervals such as ``[20, 25)``, wider at each level and counted from
    ``origin``."""

    spelled_out: ClassVar = frozenset({"origin"})

    kind: Literal["interval"]
    widths: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(min_length=1)
    origin: float = Field(default=0.0, allow_inf_nan=False)

    @field_validator("widths")
    @classmethod
    def _nested(cls, widths: list[float]) -> list[float]:
        for narrow, wide in itertools.pairwise(widths):
            ratio = wide / narrow
            if not 1 < ratio < 1e15 or abs(ratio - round(ratio)) > 1e-9:
                raise ValueError("each width must be a whole multiple of the one before it")
        return widths


class PrefixHierarchy(Model):
    """Text that keeps fewer leading characters at each level; the others become ``*``."""

    spelled_out: ClassVar = frozenset({"keep"})

    kind: Literal["prefix"]
    keep: list[Annotated[int, Field(ge=1)]] | None = None

    @field_validator("keep")
    @classmethod
    def _fewer(cls, keep: list[int] | None) -> list[int] | None:
        if keep is not None and (not keep or keep != sorted(set(keep), reverse=True)):
            raise ValueError("keep must count down, each number once, for example [4, 3, 2]")
        return keep


class FileHierarchy(Model):
    """A table in a file: one row per leaf, columns from the value itself to ``*``."""

    kind: Literal["file"]
    path: str = Field(min_length=1)


class AutomaticHierarchy(Model):
    """Numbers in intervals with about the same number of rows each, computed from the data when the
    plan is fitted: at most ``bins`` intervals, then half as many, and so on."""

    spelled_out: ClassVar = frozenset({"bins"})

    kind: Literal["automatic"]
    bins: int = Field(default=32, ge=2, le=1024)


class SuppressHierarchy(Model):
    """The value itself, or ``*``."""

    kind: Literal["suppress"]


Hierarchy = Annotated[
    DateHierarchy
    | IntervalHierarchy
    | PrefixHierarchy
    | FileHierarchy
    | AutomaticHierarchy
    | SuppressHierarchy,
    Field(discriminator="kind"),
]
