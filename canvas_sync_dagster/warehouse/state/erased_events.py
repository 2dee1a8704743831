"""SQL on `canvas_sync_live_events` that removes an erased person from the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from canvas_sync_dagster.warehouse.schema.ddl import DEFERRED_READS, INBOX
from canvas_sync_dagster.warehouse.warehouse import Warehouse

USER_KEY = r'"[a-z_]*(?:user|student|observer|assessor|actor|member)[a-z_]*"\s*:\s*'
"""Keys of events whose value is the id of a user."""
ACTOR = ("user_id", "user_login", "user_sis_id", "user_account_id", "real_user_id", "client_ip", "user_agent", "session_id",
         "referrer", "url", "hostname", "request_id")  # fmt: skip
"""Metadata of an event about the person who caused it, and not about the object that changed."""
WAITING = sql.SQL("state in ('pending', 'failed') and not deferred")
DEFERRED = sql.SQL("deferred and id = any(array(select event_id from {}))")
"""Deferred events are in no index of the inbox."""
ABOUT = sql.SQL(
    "({part} ~ %(pattern)s or exists (select from unnest(%(names)s::text[]) n where position(n in {part}) > 0))"
)
BODY, WHOLE = sql.SQL("(payload->'body')::text"), sql.SQL("payload::text")


@dataclass(frozen=True, slots=True)
class ErasedEvents:
    """The events of a tenant that are about one person, or that the person caused.

    Attributes:
        warehouse: The tenant's.
        user: Canvas id of the person.
        names: Names and logins of the person.
    """

    warehouse: Warehouse
    user: int
    names: Sequence[str] = ()

    def remove_waiting(self) -> int:
        """Delete events about the person that are not claimed yet; return how many there were."""
        return self._remove(WAITING)

    def remove_deferred(self) -> int:
        """Delete deferred events about the person; return how many there were."""
        return self._remove(self._deferred)

    def remove_actor(self) -> int:
        """Remove the person from events, not claimed yet, about something else; return how many changed."""
        return self._remove_actor(WAITING)

    def remove_deferred_actor(self) -> int:
        """Remove the person from deferred events about something else; return how many changed."""
        return self._remove_actor(self._deferred)

    def _remove(self, which: sql.Composable) -> int:
        query = sql.SQL("delete from {} where {} and {}").format(self._table, which, ABOUT.format(part=BODY))
        return self._execute(query)

    def _remove_actor(self, which: sql.Composable) -> int:
        query = sql.SQL(
            "update {} set payload = jsonb_set(payload, '{{metadata}}', (payload->'metadata') - %(actor)s::text[]) "
            "where {} and {}"
        ).format(self._table, which, ABOUT.format(part=WHOLE))
        return self._execute(query)

    def remove_settled(self) -> int:
        """Delete settled events about the person, or caused by the person; return how many there were."""
        settled = sql.SQL("state not in ('pending', 'failed')")
        query = sql.SQL("delete from {} where {} and {}").format(self._table, settled, ABOUT.format(part=WHOLE))
        return self._execute(query)

    def _execute(self, query: sql.Composed) -> int:
        # Global ids are the shard's number and thirteen digits of the local one.
        number = rf"(?:[0-9]{{1,7}}{self.user:013d}|{self.user})"
        pattern = rf'{USER_KEY}"?{number}"?\s*[,}}\]]|canvas:user:{number}"'
        given = {"pattern": pattern, "names": list(self.names), "actor": list(ACTOR)}
        return self.warehouse.connection.execute(query, given).rowcount

    @property
    def _deferred(self) -> sql.Composed:
        return DEFERRED.format(self.warehouse.identifier(DEFERRED_READS))

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(INBOX)
