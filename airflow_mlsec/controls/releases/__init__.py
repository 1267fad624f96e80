"""Controls of what anonymization released."""
