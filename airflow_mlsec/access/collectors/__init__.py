"""One module for each kind of system that says who may do what."""
