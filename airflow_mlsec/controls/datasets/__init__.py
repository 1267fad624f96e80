"""Controls of raw personal data."""
