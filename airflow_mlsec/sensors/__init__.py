"""Sensors: `access_review` waits for people who decide who may have access."""
