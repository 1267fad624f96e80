"""Signed statements about datasets, what was about to be published, and what erasures left."""
