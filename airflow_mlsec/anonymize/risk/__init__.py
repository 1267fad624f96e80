"""How likely somebody is found in a table, and what it is still good for."""
