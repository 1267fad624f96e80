"""Controls: keys."""
