"""Deletes from Dagster's storage what `DagsterInstance.delete_run` leaves there: old events without a run, and backfills.

Sensors report materializations of live events and evaluations of staleness without a run. Dagster has no function that
deletes them, nor the check results of a deleted run, nor backfills, so that these are statements on the tables of its SQL
storages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import dagster as dg
import sqlalchemy as sa

CHUNK = 1_000
"""Ids in a statement; SQLite accepts 32,766."""
ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
"""Statuses of backfills that start no further run; `BulkActionStatus` is private."""
NO_RUN = ""
"""Dagster's run id of events that belong to no run."""

_CHECKS = sa.table("asset_check_executions", *map(sa.column, ("id", "asset_key", "check_name", "run_id", "partition",
                                                             "create_timestamp", "evaluation_event_storage_id")))  # fmt: skip
_EVENTS = sa.table("event_logs", *map(sa.column, ("id", "asset_key", "partition", "run_id", "dagster_event_type",
                                                 "timestamp")))  # fmt: skip
_TAGS = sa.table("asset_event_tags", sa.column("event_id"))
_BACKFILLS = sa.table("bulk_actions", sa.column("key"))
_BACKFILL_TAGS = sa.table("backfill_tags", sa.column("backfill_id"))


def prune_checks_of_deleted_runs(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], before: datetime) -> None:
    """Delete the check results of runs that are gone: deleted by housekeeping, by a person, or by a killed housekeeping.

    Args:
        instance: The Dagster instance.
        assets: Keys of the assets that were checked.
        before: Only check results that were created earlier (aware): a run that begins now is stored before its checks.
    """
    texts = _texts(assets)
    old = sa.and_(
        _CHECKS.c.asset_key.in_(texts),
        _CHECKS.c.run_id != NO_RUN,
        _CHECKS.c.create_timestamp < before.astimezone(UTC).replace(tzinfo=None),
    )
    with _connection(instance) as connection:
        found = connection.execute(sa.select(_CHECKS.c.run_id).where(old).distinct()).scalars().all()
    for chunk in _chunks(found):
        gone = set(chunk) - {run.run_id for run in instance.get_runs(dg.RunsFilter(run_ids=chunk))}
        with _connection(instance) as connection:
            connection.execute(_CHECKS.delete().where(_CHECKS.c.asset_key.in_(texts), _CHECKS.c.run_id.in_(gone)))


def prune_events_without_run(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], *, kept: timedelta) -> int:
    """Delete old events of assets that belong to no run, except the latest of each asset, partition and kind.

    Args:
        instance: The Dagster instance.
        assets: Keys of the assets.
        kept: Age at which events are deleted.

    Returns:
        The number of events that were deleted.
    """
    texts, before = _texts(assets), datetime.now(UTC).replace(tzinfo=None) - kept
    with _connection(instance) as connection:
        checks = _old(connection, _CHECKS, _CHECKS.c.create_timestamp < before, texts, "check_name", "partition")
        events = [event for _, event in checks if event is not None]
        for chunk in _chunks([check for check, _ in checks]):
            connection.execute(_CHECKS.delete().where(_CHECKS.c.id.in_(chunk)))
        old = _old(connection, _EVENTS, _EVENTS.c.timestamp < before, texts, "partition", "dagster_event_type")
        events += [event for event, _ in old]
        for chunk in _chunks(events):
            connection.execute(_TAGS.delete().where(_TAGS.c.event_id.in_(chunk)))
            connection.execute(_EVENTS.delete().where(_EVENTS.c.id.in_(chunk)))
    return len(events)


def prune_backfills(instance: dg.DagsterInstance, assets: Collection[dg.AssetKey], *, kept: timedelta) -> int:
    """Delete old backfills that have ended and that are of these assets only. Their runs are deleted by their own age.

    Args:
        instance: The Dagster instance.
        assets: Keys of the assets.
        kept: Age at which backfills are deleted.

    Returns:
        The number of backfills that were deleted.
    """
    before = (datetime.now(UTC) - kept).timestamp()
    ours = [
        each.backfill_id
        for each in instance.get_backfills()
        if each.status.value in ENDED
        and each.backfill_timestamp < before
        and each.asset_selection
        and all(key in assets for key in each.asset_selection)
    ]
    storage: Any = instance.run_storage
    for chunk in _chunks(ours):
        with storage.connect() as connection:
            connection.execute(_BACKFILL_TAGS.delete().where(_BACKFILL_TAGS.c.backfill_id.in_(chunk)))
            connection.execute(_BACKFILLS.delete().where(_BACKFILLS.c.key.in_(chunk)))
    return len(ours)


def _old(
    connection: sa.Connection, table: sa.TableClause, is_old: sa.ColumnElement[bool], texts: Sequence[str], *kind: str
) -> Sequence[Any]:
    """Return id, and of a check result the id of its event, of the old rows that are not the latest of their kind."""
    ours = sa.and_(table.c.asset_key.in_(texts), table.c.run_id == NO_RUN)
    latest = (
        sa.select(sa.func.max(table.c.id)).where(ours).group_by(table.c.asset_key, *(table.c[name] for name in kind))
    )
    event = table.c.get("evaluation_event_storage_id", sa.null())
    return connection.execute(sa.select(table.c.id, event).where(ours, is_old, table.c.id.not_in(latest))).fetchall()


def _connection(instance: dg.DagsterInstance) -> Any:
    """Return a context manager with a connection to the tables that all runs share; every SQL storage has it."""
    storage: Any = instance.event_log_storage
    return storage.index_connection()


def _texts(assets: Iterable[dg.AssetKey]) -> list[str]:
    return [key.to_string() for key in assets]


def _chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
