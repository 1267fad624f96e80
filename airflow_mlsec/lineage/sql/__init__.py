"""Column lineage out of SQL: queries, statements, scripts."""
