"""Discovery: what the columns of a table probably are, and which of them single people out.

`_names` knows what columns are called, `_formats` what values look like, `_profile` looks at a
sample of each column, `_propose` weighs both into a policy with the evidence for each column,
`_uniques` finds the combinations that only one row has. May import `datasets`, `policy` and
below. Start with `_propose.discover`.
"""

from airflow_mlsec.discovery._propose import Discovery, Proposal, discover
from airflow_mlsec.discovery._uniques import SinglingOut, minimal_uniques

__all__ = ["Discovery", "Proposal", "SinglingOut", "discover", "minimal_uniques"]
