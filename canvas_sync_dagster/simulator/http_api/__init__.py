"""The HTTP routes of the simulated Canvas."""
