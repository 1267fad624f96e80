"""Whether a number is well formed, by the rules of its kind (`python-stdnum`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=65_536)
def is_valid_number(kind: str, value: str) -> bool:
    """Whether ``value`` is a valid number of a ``kind``, named like a stdnum module: ``iban``, ``us.ssn``."""
    return bool(_validator(kind)(value))


@lru_cache(maxsize=64)
def _validator(kind: str) -> Callable[[str], bool]:
    module: Any = importlib.import_module(f"stdnum.{kind}")
    check: Callable[[str], bool] = module.is_valid
    return check
