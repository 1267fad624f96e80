"""Data subjects: where is her data, give it to her, erase it, and prove that.

`_clocks` counts deadlines. `_locate` finds a person in every dataset, artifact and model that
the lineage reaches. May import `lineage`, `anonymize`, `register`, `datasets`, `crypto`. Start
with `_locate.locate`.
"""

from airflow_mlsec.subjects._clocks import Calendar, Deadline, deadlines, kinds_of
from airflow_mlsec.subjects._locate import Finding, Location, locate

__all__ = ["Calendar", "Deadline", "Finding", "Location", "deadlines", "kinds_of", "locate"]
