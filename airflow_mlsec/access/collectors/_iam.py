"""Policies of AWS: which of their statements are about an action on a resource, and for whom.

AWS Identity and Access Management, User Guide: policy evaluation logic, and JSON policy elements. An explicit *deny*
wins; what a boundary does not allow, nothing allows. A condition is not evaluated: an *allow* with one is listed with
that remark, a *deny* with one takes nothing away, since it may not apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, and where it is from, in words."""

    document: Document
    origin: str

    @property
    def allows(self) -> bool:
        return self.document.get("Effect") == "Allow"

    @property
    def is_conditional(self) -> bool:
        return bool(self.document.get("Condition"))

    def is_about_action(self, action: str) -> bool:
        if "NotAction" in self.document:
            return not any(matches(p, action.lower()) for p in _lower(self.document["NotAction"]))
        return any(matches(p, action.lower()) for p in _lower(self.document.get("Action")))

    def may_reach(self, resource: str, variables: Mapping[str, str]) -> bool:
        """Whether it is about something below ``resource``, an ARN that may end with a star."""
        if "NotResource" in self.document:
            # Of a variable that is not known, it is not known what it leaves out.
            known = _known(self.document["NotResource"], variables)
            return not any(covers(p, resource) for p in known)
        return any(
            overlaps(_filled(p, variables), resource)
            for p in texts(self.document.get("Resource", "*"))
        )

    def covers_all(self, resource: str, variables: Mapping[str, str]) -> bool:
        """Whether it is certainly about everything below ``resource``."""
        if "NotResource" in self.document:
            return not any(
                overlaps(_filled(p, variables), resource)
                for p in texts(self.document["NotResource"])
            )
        known = _known(self.document.get("Resource", "*"), variables)
        return any(covers(p, resource) for p in known)

    def resources(self, variables: Mapping[str, str]) -> list[str]:
        """The patterns of resources that it names, as far as they say what it is about."""
        if "NotResource" in self.document:
            return ["*"]
        return [_filled(p, variables) for p in texts(self.document.get("Resource", "*"))]

    def principals(self) -> list[str] | None:
        """Whom a resource's policy names; None if it names those whom it is not about."""
        if "NotPrincipal" in self.document:
            return None
        named = self.document.get("Principal", {})
        if isinstance(named, str):
            return [named]
        return [text for kind in named.values() for text in texts(kind)]

    def excepted(self) -> list[str]:
        named = self.document.get("NotPrincipal", {})
        return [named] if isinstance(named, str) else [t for kind in named.values() for t in texts(kind)]  # fmt: skip


def statements(document: Any, origin: str) -> list[Statement]:
    """The statements of a policy."""
    found = document.get("Statement", []) if isinstance(document, dict) else []
    return [Statement(s, origin) for s in ([found] if isinstance(found, dict) else found)]


def allowed(
    policies: Sequence[Statement],
    boundary: Sequence[Statement] | None,
    action: str,
    resource: str,
    variables: Mapping[str, str],
) -> Iterator[Statement]:
    """The statements that allow somebody an action on something below a resource."""
    if denied(policies, action, resource, variables):
        return
    if boundary is not None and (
        denied(boundary, action, resource, variables)
        or not any(_allows(s, action, resource, variables) for s in boundary)
    ):
        return
    yield from (s for s in policies if _allows(s, action, resource, variables))


def denied(
    policies: Sequence[Statement], action: str, resource: str, variables: Mapping[str, str]
) -> bool:
    """Whether an action is denied on everything below a resource."""
    return any(
        not s.allows
        and not s.is_conditional
        and s.is_about_action(action)
        and s.covers_all(resource, variables)
        for s in policies
    )


def _allows(s: Statement, action: str, resource: str, variables: Mapping[str, str]) -> bool:
    return s.allows and s.is_about_action(action) and s.may_reach(resource, variables)


def texts(value: Any) -> list[str]:
    """An element that may be one text or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(v) for v in value]


def _lower(value: Any) -> list[str]:
    return [text.lower() for text in texts(value)]


# What stands for these letters themselves.
_LITERALS = {"${*}": "\x01", "${?}": "\x02", "${$}": "$"}


def _filled(pattern: str, variables: Mapping[str, str]) -> str:
    """A pattern with what is known of variables; any other may stand for anything."""
    for name, value in {
        **_LITERALS,
        **{f"${{{name}}}": v for name, v in variables.items()},
    }.items():
        pattern = pattern.replace(name, value)
    return re.sub(r"\$\{[^}]*\}", "*", pattern)


def _known(patterns: Any, variables: Mapping[str, str]) -> list[str]:
    """The patterns of which every variable is known: what others are about is not certain."""
    found = []
    for pattern in texts(patterns):
        bare = pattern
        for name in (*_LITERALS, *(f"${{{name}}}" for name in variables)):
            bare = bare.replace(name, "")
        if "${" not in bare:
            found.append(_filled(pattern, variables))
    return found


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", pattern)
    made = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
    return re.compile(made, re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern with ``*`` and ``?`` is about a text."""
    return _expression(pattern).fullmatch(text) is not None


def covers(pattern: str, resource: str) -> bool:
    """Whether a pattern is about everything that a resource, which may end with a star, stands for."""
    # A star in the resource is only matched by a star in the pattern: no name has such a letter.
    return matches(pattern, resource.replace("*", "\x00"))


@lru_cache(maxsize=65536)
def overlaps(pattern: str, resource: str) -> bool:
    """Whether some text is matched by both patterns."""
    # Row by row: which beginnings of the one go with which beginnings of the other.
    row = [True, *(False for _ in resource)]
    for number, letter in enumerate(resource, 1):
        row[number] = row[number - 1] and letter == "*"
    for first in pattern:
        before, row = row, [row[0] and first == "*"]
        for number, second in enumerate(resource, 1):
            if "*" in (first, second):
                row.append(before[number] or row[number - 1] or before[number - 1])
            else:
                row.append(before[number - 1] and (first == second or "?" in (first, second)))
    return row[-1]
