"""Controls: who we are, and which law applies."""
