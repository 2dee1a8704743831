"""What a code location is built from: the builder, the project computed from it, Dagster's definitions of that."""
