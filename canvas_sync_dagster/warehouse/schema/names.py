"""Names of indexes and tables that are derived from other names, within PostgreSQL's limit."""

from __future__ import annotations

import hashlib

NAME_BYTES = 63
"""Longest name that PostgreSQL takes, in bytes; it cuts a longer one without an error."""
DIGESTS = "canvas_sync_digests"


def object_name(*parts: str) -> str:
    """Returns a name for an index, as PostgreSQL itself would make it, within its limit.

    >>> object_name("courses", "canvas_term_id", "idx")
    'courses_canvas_term_id_idx'
    """
    name = "_".join(parts)
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: NAME_BYTES - 9].decode(errors='ignore')}_{digest}"


def digest_table_name(table: str) -> str:
    """Return the name of the table of digests of a data table that cannot have the column `row_hash`.

    >>> digest_table_name("users")
    'canvas_sync_digests_users'
    """
    return object_name(DIGESTS, table)


def history_table_name(table: str) -> str:
    """Return the name of the table with the earlier states of a data table's rows.

    >>> history_table_name("enrollments")
    'enrollments_history'
    """
    return object_name(table, "history")
