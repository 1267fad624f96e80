"""What a change of a policy loosens: names of its keys, and never a value.

What is stricter binds at once; what loosens a protection needs people (`governance`). Where a change is neither clearly
stricter nor the same, it counts as looser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from airflow_mlsec.policy._privacy import Privacy
from airflow_mlsec.policy._retention import keep_from
from airflow_mlsec.policy._role import Role
from airflow_mlsec.policy._schema import (
    Column,
    LawfulBasis,
    Policy,
    Retention,
    SpecialCategories,
    Subject,
)
from airflow_mlsec.policy._special import is_special

# Everything, of a policy that cannot be compared.
EVERYTHING = "*"
# More of it protects more, or less of it does.
_HIGHER = ("k_anonymity", "k_map")
_LOWER = ("delta_presence", "average_risk", "sample_uniqueness")
# Days from which lengths of time are compared: before and after short months, in leap years and others.
_DAYS = tuple(
    date(year, month, day) for year in (2027, 2028, 9990) for month in (3, 7, 12) for day in (1, 31)
)
# What leaves nothing of a value; and what leaves a code in its place.
_REMOVED = ("drop", "redact", "constant")
_REPLACED = (*_REMOVED, "pseudonymize", "tokenize", "vault")
# From a role to one that protects at least as much.
_STRICTER = frozenset(
    [(Role.INSENSITIVE, Role.SENSITIVE), (Role.INSENSITIVE, Role.QUASI_IDENTIFYING), (Role.SENSITIVE, Role.QUASI_IDENTIFYING)]
)  # fmt: skip


def loosened(before: Policy, after: Policy) -> tuple[str, ...]:
    """The keys of a policy whose change protects less than before, sorted; empty if nothing is loosened.

    Looser are: a lower guarantee, another role or treatment of a column, a new column that is published as it is, longer
    retention, one more purpose, recipient (of those that are stated) or reason to keep rows, a claim of anonymity, data of nobody or of other persons,
    another owner, controller or legal ground, decisions by machines, and no list of members any more.
    """
    return tuple(sorted(set(_loosened(before, after))))


def _loosened(before: Policy, after: Policy) -> Iterator[str]:
    yield from _columns(before, after)
    yield from (f"privacy.{name}" for name in _privacy(before.privacy, after.privacy))
    for name in ("owner", "controller"):
        if getattr(before, name) not in (None, getattr(after, name)):
            yield name
    if before.purposes and (not after.purposes or _names(before.purposes, after.purposes)):
        yield "purposes"
    if _received(before, after):
        yield "recipients"
    if before.retention is not None and _kept_longer(before.retention, after.retention):
        yield "retention"
    if after.erasure is not None and after.erasure != before.erasure:
        yield "erasure"
    if after.anonymity is not None and after.anonymity != before.anonymity:
        yield "anonymity"
    if before.subject is not None and _who(before.subject) != (
        after.subject and _who(after.subject)
    ):
        yield "subject"
    if before.membership == "keep" and after.membership != "keep":
        yield "membership"
    for name in ("special_categories", "lawful_basis"):
        stated, now = getattr(before, name), getattr(after, name)
        # Another source of the same ground is no other ground.
        if stated is not None and _ground(stated) != _ground(now):
            yield name
    if _reached(before, after):
        yield "access"
    decides = before.automated_decisions
    if decides is not None and after.automated_decisions not in (decides, "none"):
        yield "automated_decisions"


def _kept_longer(before: Retention, after: Retention | None) -> bool:
    if after is None or before.from_ != after.from_:
        return True
    return any(keep_from(day, after.keep) < keep_from(day, before.keep) for day in _DAYS)


def _reached(before: Policy, after: Policy) -> bool:
    """Whether somebody may reach the data who did not before, or more, or for longer. An empty list says nothing."""
    if after.access == "none" or not before.access:
        return False
    known = {} if before.access == "none" else {a.who: a for a in before.access}
    if not after.access:
        return True
    for access in after.access:
        old = known.get(access.who)
        if old is None or not {*access.rights} <= {*old.rights}:
            return True
        if old.until is not None and (access.until is None or access.until > old.until):
            return True
    return False


def _who(subject: Subject) -> tuple[object, ...]:
    """Whose data it is; how spellings of a key belong together gives nobody anything."""
    return subject.kind, subject.key, subject.references


def _ground(stated: LawfulBasis | SpecialCategories | None) -> str | None:
    return getattr(stated, "basis", None) or getattr(stated, "condition", None)


def _columns(before: Policy, after: Policy) -> Iterator[str]:
    for name, column in after.columns.items():
        known = before.columns.get(name)
        if known is None:
            if not _is_protected(column, after):
                yield f"columns.{name}"
            continue
        yield from (f"columns.{name}.{key}" for key in _column(known, column))


def _is_protected(column: Column, policy: Policy) -> bool:
    """Whether a column that was not there before gives nobody anything: it is removed or replaced by a code, or recoded under
    a guarantee."""
    if column.method in _REPLACED:
        return True
    return column.hierarchy is not None and policy.privacy.class_size not in (None, 1)


def _column(before: Column, after: Column) -> Iterator[str]:
    gone = after.method in _REMOVED
    to_code = after.role is Role.IDENTIFYING and after.method in _REPLACED
    if before.role is not after.role and not (gone or to_code or (before.role, after.role) in _STRICTER):  # fmt: skip
        yield "role"
    if before.hierarchy is not None and after.hierarchy is None and not (gone or to_code):
        yield "hierarchy"
    same = _plain(before.transform) == _plain(after.transform)
    if before.transform is not None and not same and not gone:
        yield "transform"
    if is_special(before.category) and not is_special(after.category):
        yield "category"
    if before.free_text and not after.free_text:
        yield "free_text"
    if before.about == "others" and after.about != "others":
        yield "about"


def _plain(model: Any) -> Any:
    return None if model is None else model.model_dump(mode="json")


def _privacy(before: Privacy, after: Privacy) -> Iterator[str]:
    for name in (*_HIGHER, *_LOWER):
        old, new = getattr(before, name), getattr(after, name)
        if old is not None and (new is None or (new < old if name in _HIGHER else new > old)):
            yield name
    compared: dict[str, Callable[[Any, Any], bool]] = {
        "l_diversity": lambda old, new: (
            {**_plain(old), "l": 0} == {**_plain(new), "l": 0} and new.l >= old.l
        ),
        "t_closeness": lambda old, new: (
            {**_plain(old), "t": 0} == {**_plain(new), "t": 0} and new.t <= old.t
        ),
        "delta_disclosure": lambda old, new: new <= old,
        "beta_likeness": lambda old, new: new.enhanced >= old.enhanced and new.beta <= old.beta,
    }
    for name, holds in compared.items():
        old, new = getattr(before, name), getattr(after, name)
        if any(column not in new or not holds(old[column], new[column]) for column in old):
            yield name
    old, new = before.population_uniqueness, after.population_uniqueness
    if old is not None and old != new:
        same = new is not None and (new.size, new.estimator) == (old.size, old.estimator)
        if new is None or not same or new.limit > old.limit:
            yield "population_uniqueness"
    if before.population != after.population and before.population is not None:
        yield "population"
    if before.unseen == "refuse" and after.unseen != "refuse":
        yield "unseen"


def _names(before: list[Any], after: list[Any]) -> bool:
    """Whether there is a purpose more, or another text for one: whoever uses the data may name any of them."""
    known = {text for stated in before for text in _texts(stated)}
    return any(not _texts(stated) <= known for stated in after)


def _texts(stated: str | Mapping[str, str]) -> set[str]:
    texts = [stated] if isinstance(stated, str) else stated.values()
    return {text.strip().casefold() for text in texts}


def _received(before: Policy, after: Policy) -> bool:
    """Whether somebody receives data who did not before, or for more. An empty list says nothing: to state who receives data is
    not to give it to them."""
    if after.recipients == "none" or not before.recipients:
        return False
    if not after.recipients:
        return True
    known = {} if before.recipients == "none" else {r.name: r for r in before.recipients}
    for recipient in after.recipients:
        old = known.get(recipient.name)
        if old is None or recipient.disclosure not in (old.disclosure, None, "business_purpose"):
            return True
    return False


def read_canonical(document: Mapping[str, Any]) -> Policy:
    """A policy as the register keeps it (`Model.canonical_data`).

    :raises ValueError: if it has something that this version does not know.
    """
    return Policy.model_validate_json(json.dumps(document))
