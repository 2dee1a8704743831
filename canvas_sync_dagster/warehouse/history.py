"""What writes to a data table, for its history: the triggers read it from a setting of the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.warehouse import Table

SETTING = "canvas_sync.history_source"
OFF = "off"
"""Value of the setting that keeps the triggers from recording."""
REPORT = "report"
REST = "rest"
EVENT = "event"
PARENT = "parent"
SET = "select set_config(%s, %s, true)"


def beginning_of(table: str) -> str:
    """Return the name under which `canvas_sync_remembered` has the time at which the history of a table began."""
    return f"history of {table}"


@contextmanager
def written_by(table: Table, source: str) -> Iterator[None]:
    """Name the source of changes to a table that has a history. The outermost source counts."""
    if not table.model.history:
        yield
        return
    connection = table.connection
    statement = "select set_config(%s, %s, true) where coalesce(current_setting(%s, true), '') = ''"
    is_outermost = connection.execute(statement, (SETTING, source, SETTING)).fetchone() is not None
    # After an error the transaction ends, and the setting with it.
    yield
    if is_outermost:
        connection.execute(SET, (SETTING, ""))


@contextmanager
def unrecorded(connection: Connection) -> Iterator[None]:
    """Keep changes out of all histories, such as those that erase a person."""
    (before,) = connection.execute("select coalesce(current_setting(%s, true), '')", (SETTING,)).fetchone() or ("",)
    connection.execute(SET, (SETTING, OFF))
    yield
    connection.execute(SET, (SETTING, before))
