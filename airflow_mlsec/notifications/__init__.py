"""Notifiers: `privacy_alert` alerts on-call when a privacy task fails."""
