"""What every part of a policy has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Refuses unknown keys, and cannot be changed."""

    # Values are never repeated in errors: a policy may name constants that are personal.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Keys that the canonical form includes even at their default, because it always has. Keys that were added later
    # are not listed: at their default they are left out, so that policies that do not use them keep their digest.
    spelled_out: ClassVar[frozenset[str]] = frozenset()

    def canonical_data(self) -> dict[str, Any]:
        """The model as JSON data, without keys at their default, except those in ``spelled_out``."""
        return _without_defaults(self, self.model_dump(mode="json", by_alias=True))


def _without_defaults(model: Model, dumped: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        unused = not field.is_required() and value == field.get_default(call_default_factory=True)
        if not unused or name in model.spelled_out:
            key = field.alias or name
            found[key] = _canonical(value, dumped[key])
    return found


def _canonical(value: Any, dumped: Any) -> Any:
    if isinstance(value, Model):
        return _without_defaults(value, dumped)
    if isinstance(value, Mapping):
        return {key: _canonical(value[key], inner) for key, inner in dumped.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part, inner) for part, inner in zip(value, dumped, strict=True)]
    return dumped
