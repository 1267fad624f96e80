"""Privacy and security for machine-learning pipelines on Apache Airflow 3.

Importing this package costs nothing: names are resolved on first use, and Airflow, pandas and
Arrow are imported only by what needs them. Start with `docs/tutorial.md`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_mlsec.anonymize import Plan as Plan
    from airflow_mlsec.crypto import KeyRing as KeyRing
    from airflow_mlsec.policy import Policy as Policy
    from airflow_mlsec.policy import load_policy as load_policy
    from airflow_mlsec.register import Register as Register

_NAMES = {
    "KeyRing": "airflow_mlsec.crypto",
    "Plan": "airflow_mlsec.anonymize",
    "Policy": "airflow_mlsec.policy",
    "Register": "airflow_mlsec.register",
    "load_policy": "airflow_mlsec.policy",
}

__all__ = ["KeyRing", "Plan", "Policy", "Register", "__version__", "load_policy"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'airflow_mlsec' has no attribute '{name}'")
