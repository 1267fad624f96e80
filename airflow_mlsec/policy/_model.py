"""What every part of a policy has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Refuses keys that it does not know, and cannot be changed."""

    # Values are never repeated in errors: a policy may name constants that are personal.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
