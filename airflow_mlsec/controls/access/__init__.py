"""Controls: who may do what, and whether that is reviewed."""
