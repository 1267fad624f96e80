"""Controls: data-subject requests."""
