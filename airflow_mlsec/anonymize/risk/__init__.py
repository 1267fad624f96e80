"""How likely somebody is to be found in a table, and how useful the table still is."""
