"""SQL on `canvas_sync_alerts`: open alerts, and what was sent of them to each channel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_alerts"
COLUMNS = ("condition", "opened_at", "notified_at", "notified_size", "resolved", "attempts", "next_attempt_at", "error")
KEY = ("channel", "kind", "subject")


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A row of the table.

    Attributes:
        kind: Kind of the condition.
        subject: What it is about.
        condition: What is wrong, as JSON: `text`, `remedy`, `path`, `size`.
        opened_at: When it was first seen.
        notified_at: When the channel was last notified; None if it was not.
        notified_size: Its size then.
        resolved: Whether it is over, and the channel is still to be notified of it.
        attempts: How often delivering has failed.
        next_attempt_at: When it is tried again; None for at once.
        error: Why it failed.
    """

    kind: str
    subject: str
    condition: Mapping[str, Any]
    opened_at: datetime
    notified_at: datetime | None
    notified_size: int
    resolved: bool
    attempts: int
    next_attempt_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class AlertStates:
    """The alerts of a tenant."""

    warehouse: Warehouse

    def read(self, channel: str) -> list[StoredAlert]:
        """Read what a channel knows."""
        query = sql.SQL("select kind, subject, {} from {} where channel = %s order by opened_at, kind, subject").format(
            sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), self._table
        )
        rows = self.warehouse.connection.execute(query, (channel,)).fetchall()
        return [StoredAlert(*row) for row in rows]

    def write(self, channel: str, alerts: Iterable[StoredAlert]) -> None:
        """Write rows of a channel, new or changed."""
        names = (*KEY, *COLUMNS)
        query = sql.SQL("insert into {} ({}) values ({}) on conflict (channel, kind, subject) do update set {}").format(
            self._table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(sql.Placeholder() for _ in names),
            sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in (*COLUMNS, "updated_at")
            ),
        )
        for each in alerts:
            values = (json.dumps(dict(each.condition)), *(getattr(each, name) for name in COLUMNS[1:]))
            self.warehouse.connection.execute(query, (channel, each.kind, each.subject, *values))

    def delete(self, channel: str, keys: Iterable[tuple[str, str]]) -> None:
        """Delete rows of a channel, by kind and subject."""
        query = sql.SQL("delete from {} where channel = %s and kind = %s and subject = %s").format(self._table)
        for kind, subject in keys:
            self.warehouse.connection.execute(query, (channel, kind, subject))

    def keep_channels(self, channels: Sequence[str]) -> None:
        """Delete the rows of other channels, which are not configured any more."""
        query = sql.SQL("delete from {} where not channel = any(%s)").format(self._table)
        self.warehouse.connection.execute(query, (list(channels),))

    def count_undelivered(self) -> dict[str, tuple[int, str]]:
        """Return channel → number of alerts whose delivery has failed, and the latest error."""
        query = sql.SQL(
            "select channel, count(*), (array_agg(error order by updated_at desc))[1] from {} "
            "where attempts > 0 group by channel order by channel"
        ).format(self._table)
        return {
            str(channel): (int(count), str(error or ""))
            for channel, count, error in self.warehouse.connection.execute(query).fetchall()
        }

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(TABLE)
