"""A policy's digest: what evidence refers to for ever. It must not change by what a policy does not use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from airflow_mlsec.policy import parse_policy, transforms
from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._schema import Column, Policy

SMALL = """
version: 1
dataset: /srv/people.csv
owner: team
columns:
  mail: {role: identifying, transform: {method: pseudonymize, domain: person}}
  age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5, 10]}}
  illness: {role: sensitive}
"""
LARGE = """
version: 1
dataset: sqlite:////srv/shop.db/people
owner: team
controller: Shop Ltd
purposes: [advice]
recipients: [{name: Mailer}]
subject: {kind: customer, key: mail}
membership: keep
anonymity: {claimed_by: dpo, reason: assessed}
columns:
  mail: {role: identifying, transform: {method: mask, keep_first: 1}}
  name: {role: identifying, transform: {method: fake, kind: name}}
  born: {role: quasi-identifying, hierarchy: {kind: date}}
  visit: {role: insensitive, transform: {method: shift_date}}
  spent: {role: insensitive, transform: {method: noise, scale: 2}}
  note: {role: insensitive, transform: {method: redact_text}}
  card: {role: identifying, transform: {method: fpe, keep_last: 4}}
  illness: {role: sensitive}
privacy:
  k_anonymity: 5
  l_diversity: {illness: {kind: distinct, l: 2}}
  t_closeness: {illness: {distance: equal, t: 0.3}}
  suppression_limit: 0.05
"""
# As version 0.1.0 made them.
DIGESTS = {
    SMALL: "965c3f37718d96560ae2ac573e030578c74bcd7f4b130abd51d061b009133fb7",
    LARGE: "32832b54750c419d7475f90084cc4bc35ce226939a0ded46c57f0b982a92adb1",
}
# Closed: a key that comes later is left out where it has its default.
SPELLED_OUT = {
    "AutomaticHierarchy": ["bins"],
    "Column": ["category", "hierarchy", "transform"],
    "DateHierarchy": ["levels"],
    "Diversity": ["c"],
    "Fake": ["domain", "locale", "pool"],
    "FormatPreserving": ["alphabet", "domain", "keep_first", "keep_last", "luhn"],
    "Generalize": ["level"],
    "IntervalHierarchy": ["origin"],
    "Likeness": ["enhanced"],
    "Mask": ["character", "keep_first", "keep_last"],
    "Noise": ["by", "distribution", "domain", "maximum", "minimum"],
    "Policy": [
        "anonymity",
        "controller",
        "lawful_basis",
        "membership",
        "privacy",
        "purposes",
        "recipients",
        "retention",
        "subject",
        "unlisted_columns",
    ],
    "PopulationUniqueness": ["estimator"],
    "PrefixHierarchy": ["keep"],
    "Privacy": ["k_anonymity", "l_diversity", "recoding", "suppression_limit", "t_closeness"],
    "Recipient": ["contact"],
    "RedactText": ["entities", "named_entities", "names", "region"],
    "ShiftDate": ["by", "days", "domain"],
    "TopBottomCoding": ["bottom", "top"],
}


def models(of: type[Model] = Model) -> Iterator[type[Model]]:
    for cls in of.__subclasses__():
        if cls.__module__.startswith("airflow_mlsec."):
            yield cls
        yield from models(cls)


@pytest.mark.parametrize("text", DIGESTS, ids=["small", "large"])
def test_digests_are_those_of_the_first_version(text: str) -> None:
    assert parse_policy(text).digest == DIGESTS[text]


def test_what_is_spelled_out_is_what_always_was() -> None:
    assert list(transforms()), "they are loaded where they are used"
    found = {cls.__name__: sorted(cls.spelled_out) for cls in models() if cls.spelled_out}
    assert found == SPELLED_OUT


def test_a_key_that_comes_later_changes_no_digest() -> None:
    class LaterColumn(Column):
        watermark: str | None = None
        weight: float = 1.0

    class LaterPolicy(Policy):
        columns: dict[str, LaterColumn]  # type: ignore[assignment]
        region: str = "anywhere"
        labels: list[str] = []  # noqa: RUF012 - pydantic copies it
        spelled_out: ClassVar = Policy.spelled_out

    document: dict[str, Any] = parse_policy(LARGE).model_dump(mode="json", by_alias=True)
    assert LaterPolicy.model_validate(document).digest == DIGESTS[LARGE]
    used = {**document, "region": "Europe"}
    assert LaterPolicy.model_validate(used).digest != DIGESTS[LARGE]
    document["columns"]["mail"]["weight"] = 2.0
    assert LaterPolicy.model_validate(document).digest != DIGESTS[LARGE]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{kind: distinct, l: 2}", "{kind: distinct, l: 2, fold: false}"),
        ("{kind: customer, key: mail}", "{kind: customer, key: mail, normalize: exact}"),
        ("{role: sensitive}", "{role: sensitive, free_text: true}"),
        ("suppression_limit: 0.05", "suppression_limit: 0.05\n  unseen: refuse"),
        ("keep_first: 1", "keep_first: 2"),
    ],
)
def test_what_is_used_changes_the_digest(before: str, after: str) -> None:
    changed = LARGE.replace(before, after)
    assert changed != LARGE
    assert parse_policy(changed).digest != DIGESTS[LARGE]


def test_a_kind_alone_is_an_origin() -> None:
    short, long = (
        LARGE.replace("owner:", f"origin: {o}\nowner:", 1) for o in ("person", "{kind: person}")
    )
    assert parse_policy(short).digest == parse_policy(long).digest != DIGESTS[LARGE]
