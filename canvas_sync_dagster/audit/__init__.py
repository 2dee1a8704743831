"""Measure how true the tables are, by a random sample that is read from Canvas by another path than the sync's."""
