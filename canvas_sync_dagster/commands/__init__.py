"""The commands of `canvas-sync`, one module each; what they share is in `location` and `output`."""
