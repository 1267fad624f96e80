"""Triggers: what deferred sensors wait on, in the triggerer."""
