"""Controls: what is known of the data, and whether anybody answers for it."""
