"""Queries on the graph: where data comes from and goes to, states of columns, runs that sent nothing."""
