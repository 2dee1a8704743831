"""The data of the simulated Canvas."""
