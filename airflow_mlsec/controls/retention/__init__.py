"""Controls: how long data is kept."""
