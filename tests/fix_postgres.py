"""One real PostgreSQL for the whole session, and a fresh database for each test that asks."""
