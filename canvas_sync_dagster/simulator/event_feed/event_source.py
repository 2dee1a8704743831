"""Live events of the simulated Canvas: one for each row that changed since the last call."""

from __future__ import annotations

import copy
from datetime import datetime

from canvas_sync_dagster.simulator.event_feed.event_bodies import (
    EVENT_TABLES,
    STORED_TABLES,
    Body,
    EventTable,
    global_id,
)
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University


class EventSource:
    """What changed in a university since the last call."""

    def __init__(self, university: University) -> None:
        self._university = university
        # Tables are replaced when they change, so a copy holds no second one of those that do not.
        self._seen = dict.fromkeys(STORED_TABLES, copy.copy(university))

    def take(self, *, everything: bool = False) -> list[Body]:
        """Return an event for each row that is new or differs.

        Args:
            everything: Include tables that follow from others; for those, since the last call with this argument.
        """
        found = []
        present = copy.copy(self._university)
        for table, source in (EVENT_TABLES if everything else STORED_TABLES).items():
            now, before = source.rows(present), source.rows(self._seen.get(table, present))
            self._seen[table] = present
            changed = now.join(before, on=now.columns, how="anti", nulls_equal=True, maintain_order="left")
            known = set(changed.join(before, on=source.key, how="semi").get_column(source.key).to_list())
            for row in changed.to_dicts():
                verb = "updated" if row[source.key] in known else "created"
                at = row.get("updated_at") if table in STORED_TABLES else None
                found.append(_event_of(source, verb, row, at or self._university.now))
        return found

    def saved_again(self, table: str, number: int) -> list[Body]:
        """Return the events of rows that were saved without a change; Canvas sends these, too."""
        source = EVENT_TABLES[table]
        rows = source.rows(self._university).head(number).to_dicts()
        return [_event_of(source, "updated", row, self._university.now) for row in rows]


def _event_of(source: EventTable, verb: str, row: Body, at: datetime) -> Body:
    course = row.get(source.course) if source.course else None
    return event(f"{source.event}_{verb}", source.body(row), at, course)


def event(name: str, body: Body, at: datetime, course: int | None = None) -> Body:
    """Return an event as Canvas delivers it.

    Args:
        name: Such as `course_updated`.
        body: Its body.
        at: When it happened.
        course: Canvas's local id of the course where it happened, if any.
    """
    context = {"context_type": "Course", "context_id": global_id(course)} if course is not None else {}
    return {
        "metadata": {
            "event_name": name,
            "event_time": at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "producer": "canvas",
            "root_account_id": global_id(ROOT_ACCOUNT),
            "root_account_uuid": f"uuid-of-account-{ROOT_ACCOUNT}",
            "root_account_lti_guid": f"uuid-of-account-{ROOT_ACCOUNT}.simulated",
            **context,
        },
        "body": body,
    }
