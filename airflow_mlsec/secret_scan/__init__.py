"""Secrets that are stored in the open: in DAG source, in connections' extras, in variables.

The formats and the entropy are those of `detect-secrets`; no value is ever kept or shown. May import
`transport`'s connections and below. Start with `scan_folder`.
"""

from airflow_mlsec.secret_scan._scan import (
    Exposed,
    scan_connections,
    scan_folder,
    scan_variables,
)

__all__ = ["Exposed", "scan_connections", "scan_folder", "scan_variables"]
