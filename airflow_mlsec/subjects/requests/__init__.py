"""Data-subject requests: `_request` is a request as the register keeps it, `_changes` writes to it, `_location` records
what was found, `_approval` what was allowed; `_requests` has the actions of people, `_clocks` the deadlines, and
`_receipt` the signed receipt."""
