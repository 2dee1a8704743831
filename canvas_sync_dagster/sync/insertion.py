"""Run a user's step as a job of the journal."""

from __future__ import annotations

from canvas_sync_dagster.sync.extension_types import Insertion, InsertionContext, as_metadata
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema


def run_insertion(insertion: Insertion, own: InsertionContext) -> object:
    """Calls the user's function, and returns what it returned.

    Raises:
        Exception: Whatever the function raised.
    """
    session = own.session
    prepare_schema(session.database_url, session.schema, session.models, (), connections=session.connections)
    with journaled(session, insertion.name, {"scope": own.scope}, own.run_id) as job:
        returned = insertion.function(own)
        with session.warehouse("writing the journal") as warehouse:
            job.succeed(warehouse, as_metadata(returned))
    return returned
