"""Controls: processors and recipients."""
