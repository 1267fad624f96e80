"""Sensors: `access_review` waits until people have decided who may have access, `subject_request`
until a data-subject request has reached a given state."""
