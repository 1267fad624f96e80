"""Sensors: `access_review` waits for people who decide who may have access, `subject_request` for
a data-subject request to come so far."""
