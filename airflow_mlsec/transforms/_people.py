"""The person that a value belongs to."""

from __future__ import annotations

import pyarrow as pa

from airflow_mlsec.policy import Given
from airflow_mlsec.values import NormalForm


def whose(given: Given) -> pa.Array:
    """The persons of the rows, from the column that the action names, in the form that the policy declares."""
    by = given.action["by"]
    form = given.action.get("normalize_by")
    return NormalForm.parse(form).of(given.beside[by], by) if form else given.beside[by]
