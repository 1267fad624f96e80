"""Generalizing quasi-identifiers until every class holds the privacy models."""
