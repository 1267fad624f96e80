"""Controls: encryption and signatures of what is stored and sent."""
