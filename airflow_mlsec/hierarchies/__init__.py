"""Value generalization hierarchies: dates, intervals, prefixes and tables, each level more general than the one below.

`_hierarchies` fits what a policy declares to a column and labels its values at a level; `_quantiles` computes intervals
from the data. Recoding searches for levels; the transform `generalize` has a fixed one. May import `policy`, `values`
and below. Start with `_hierarchies.fit_hierarchy`.
"""

from airflow_mlsec.hierarchies._hierarchies import (
    ANY,
    Dates,
    Fixed,
    Intervals,
    Levels,
    Prefixes,
    Suppress,
    Table,
    fit_hierarchy,
    from_json,
    label,
    read_table,
)
from airflow_mlsec.hierarchies._quantiles import Quantiles, fit_quantiles

__all__ = [
    "ANY",
    "Dates",
    "Fixed",
    "Intervals",
    "Levels",
    "Prefixes",
    "Quantiles",
    "Suppress",
    "Table",
    "fit_hierarchy",
    "fit_quantiles",
    "from_json",
    "label",
    "read_table",
]
