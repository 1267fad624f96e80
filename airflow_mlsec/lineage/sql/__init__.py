"""Column lineage from SQL: queries, statements, scripts."""
