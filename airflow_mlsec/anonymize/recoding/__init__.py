"""Generalizing quasi-identifiers until every class satisfies the privacy models."""
