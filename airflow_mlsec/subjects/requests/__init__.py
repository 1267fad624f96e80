"""Data-subject requests: clocks, the rules in force, what is kept of a request, and its receipt."""
