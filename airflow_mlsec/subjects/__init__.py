"""Data subjects: where is her data?

`_locate` finds a person in every dataset, artifact and model that the lineage reaches. May
import `lineage`, `anonymize`, `register`, `datasets`, `crypto`. Start with `_locate.locate`.
"""

from airflow_mlsec.subjects._locate import Finding, Location, locate

__all__ = ["Finding", "Location", "locate"]
