"""Controls: the audit log and what it is about."""
