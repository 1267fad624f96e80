"""Events written into the register's graph."""
