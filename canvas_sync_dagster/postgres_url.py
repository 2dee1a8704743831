"""Addresses of PostgreSQL databases, for the warehouse and for Dagster's storage."""

from __future__ import annotations

ENCODING = "UTF8"
"""The only encoding that holds every text of Canvas. Sent with each connection, because a default of the role, of the
database or of PGCLIENTENCODING makes PostgreSQL read our bytes as another encoding, and store wrong text without an
error."""
