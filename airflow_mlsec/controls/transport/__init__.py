"""Controls of encryption in transit."""
