"""Notifiers: `privacy_alert` wakes on-call when a privacy task fails."""
