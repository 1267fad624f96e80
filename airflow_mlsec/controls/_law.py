"""The laws and standards that controls cite, as data: `law.yaml`.

A control names provisions as ``instrument:provision`` (``gdpr:5(1)(e)``); how they are written for people is said once,
in the catalogue, in every language. The catalogue has a version and the day on which somebody last compared it with
the law.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

from airflow_mlsec.errors import SettingError
from airflow_mlsec.ledger import LANGUAGES, Language


class Instrument(BaseModel):
    """A law or standard, how its provisions are cited, and since when it applies (standards: always)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Mapping[Language, str]
    cite: Mapping[Language, str]
    applies: date | None = None
    provisions: tuple[str, ...]


class Law(BaseModel):
    """The catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    checked: date
    instruments: Mapping[str, Instrument]

    def cited(self, reference: str) -> tuple[Instrument, str]:
        """The instrument and the provision of a reference.

        :raises SettingError: if the catalogue does not have it.
        """
        name, _, provision = reference.partition(":")
        instrument = self.instruments.get(name)
        if instrument is None or provision not in instrument.provisions:
            raise SettingError(f"the law catalogue has no provision '{reference}'")
        return instrument, provision

    def applies_from(self, references: Iterable[str]) -> date | None:
        """The day from which the first of these binds; None if one always has."""
        days = [self.cited(reference)[0].applies for reference in references]
        return None if not days or None in days else min(day for day in days if day)

    def in_words(self, references: Iterable[str], language: Language = "en") -> str:
        """References as people cite them, an instrument's provisions together: ``GDPR Art. 5(1)(e), 30(1)(f)``."""
        grouped: dict[str, list[str]] = {}
        for reference in references:
            instrument, provision = self.cited(reference)
            form = instrument.cite[language]
            cited = (
                _german(provision) if language == "de" and form.startswith("Art. ") else provision
            )
            grouped.setdefault(form, []).append(cited)
        return "; ".join(form.format(", ".join(found)) for form, found in grouped.items())


def _german(provision: str) -> str:
    """An article as German lawyers cite it: ``30(1)(c)`` is ``30 Abs. 1 lit. c``."""
    paragraphs = re.sub(r"\((\d+)\)", r" Abs. \1", provision)
    return re.sub(r"\(([a-z])\)", r" lit. \1", paragraphs)


@lru_cache(maxsize=1)
def law() -> Law:
    """The catalogue of this package."""
    text = resources.files("airflow_mlsec.controls").joinpath("law.yaml").read_text("utf-8")
    found = Law.model_validate(yaml.safe_load(text))
    for name, instrument in found.instruments.items():
        if {*instrument.title} != {*LANGUAGES} or {*instrument.cite} != {*LANGUAGES}:
            raise SettingError(f"law.yaml: {name} lacks a language")
    return found
