"""What a code location is built from: the builder, and Dagster's definitions of the project that it computes."""
