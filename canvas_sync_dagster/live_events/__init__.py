"""Live events: received and committed first, applied afterwards. Starts without Dagster."""
