"""Check the names that users give to tables, columns and types of columns."""

from __future__ import annotations

from canvas_sync_dagster.catalogue.model import ColumnType
from canvas_sync_dagster.errors import SettingError

TYPES = {
    "bigint": ColumnType.BIGINT,
    "integer": ColumnType.BIGINT,
    "string": ColumnType.TEXT,
    "text": ColumnType.TEXT,
    "boolean": ColumnType.BOOLEAN,
    "numeric": ColumnType.NUMERIC,
    "decimal": ColumnType.NUMERIC,
    "float": ColumnType.NUMERIC,
    "datetime": ColumnType.TIMESTAMP,
    "timestamptz": ColumnType.TIMESTAMP,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
    "bigint[]": ColumnType.BIGINT_ARRAY,
}
"""Types as the gem and PostgreSQL name them."""
STATE_PREFIX = "canvas_sync_"
"""First part of the names of the sync's state tables in a tenant's schema."""
NAME_BYTES = 63
"""Maximum length of a name in PostgreSQL, in bytes."""


def table_name(name: object, where: str) -> str:
    """Return a name of a table.

    Raises:
        SettingError: PostgreSQL does not accept the name, or it is reserved for state tables.
    """
    allowed = f"a name of 1 to {NAME_BYTES} bytes that does not begin with {STATE_PREFIX}"
    if not _is_name(name):
        raise SettingError(where, "not a valid table name", allowed=allowed, value=name)
    if str(name).startswith(STATE_PREFIX):
        raise SettingError(where, "the name is reserved for state tables", allowed=allowed, value=name)
    return str(name)


def column_name(name: object, where: str) -> str:
    """Return a name of a column.

    Raises:
        SettingError: PostgreSQL does not accept the name.
    """
    if not _is_name(name):
        allowed = f"a name of 1 to {NAME_BYTES} bytes"
        raise SettingError(where, "not a valid column name", allowed=allowed, value=name)
    return str(name)


def header_name(name: object, where: str) -> str:
    """Return a name in the header of a report.

    Raises:
        SettingError: It is no text, or empty.
    """
    if not isinstance(name, str) or not name.strip():
        raise SettingError(where, "not a valid header", allowed="text", value=name)
    return name


def column_type(name: object, where: str) -> ColumnType:
    """Return the type with this name.

    Raises:
        SettingError: The type does not exist.
    """
    found = TYPES.get(name.strip().lower()) if isinstance(name, str) else None
    if found is None:
        raise SettingError(where, "unknown type", allowed=", ".join(TYPES), value=name)
    return found


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "\0" not in name and len(name.encode()) <= NAME_BYTES
