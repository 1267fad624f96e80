"""Questions to the graph: where data comes from and goes, states of columns, runs that sent nothing."""
