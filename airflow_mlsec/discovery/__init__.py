"""Discovery: what the columns of a table probably are, and which of them single people out.

`_names` recognizes columns by their names, `_formats` by the form of their values, `_profile`
examines a sample of each column, `_propose` combines all of it into a policy with the evidence
for each column, `_uniques` finds combinations that only one row has. May import `datasets`,
`policy` and below. Start with `_propose.discover`.
"""

from airflow_mlsec.discovery._propose import Discovery, Proposal, discover, identifiers_in
from airflow_mlsec.discovery._uniques import SinglingOut, minimal_uniques

__all__ = ["Discovery", "Proposal", "SinglingOut", "discover", "identifiers_in", "minimal_uniques"]
