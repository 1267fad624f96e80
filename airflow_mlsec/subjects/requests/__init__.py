"""Data-subject requests: `_request` is what the register keeps of one, `_changes` writes to it, `_location` what was found,
`_approval` what was allowed; `_requests` is what people do with them, `_clocks` until when, and `_receipt` the end."""
