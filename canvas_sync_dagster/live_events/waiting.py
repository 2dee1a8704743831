"""Decide which deferred events wait for the next report of their model, because reading their objects would take longer.

Pure. A wait has hysteresis: it begins when the backlog takes longer than the time until the next scheduled sync, and does
not end because the backlog has changed, but with a sync of the model, or when no sync has come. Then the objects are read
until the model was synced again: without a sync no event waits for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.cron import Cron
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.state.report_waits import ReportWait

SHORTEST_BACKLOG = timedelta(minutes=5)
"""Backlogs that take no longer than this are read, however soon the next sync is: a report takes minutes, too."""
LONGEST_DELAY = timedelta(hours=3)
"""How long after its scheduled time a sync is waited for at most: the reports of large institutions take up to three
hours."""
DAYS = 8
"""Days in which the next two ticks of a schedule are looked for. Backlogs do not wait longer."""


@dataclass(frozen=True, slots=True)
class Coming:
    """The next syncs of a model.

    Attributes:
        at: Time of the next one.
        then: Time of the one after it.
    """

    at: datetime
    then: datetime


def coming_syncs(tenant: TenantSettings, models: Sequence[Model], now: datetime) -> dict[str, Coming]:
    """Return model → its next scheduled syncs; without the models that no report feeds or no schedule syncs.

    Args:
        tenant: Settings of the tenant.
        models: Its models.
        now: Current time.
    """
    found: dict[str, Coming] = {}
    for genre in dict.fromkeys((tenant.batch_genre, *tenant.genres)):
        settings = tenant.of_genre(genre)
        ticks = list(islice(Cron.parse(settings.schedule).ticks(now, settings.time_zone, days=DAYS), 2))
        if len(ticks) < 2:
            continue
        for model in models:
            is_reported = not isinstance(model.feed, RestFeed) and tenant.feeds.get(model.name) != "rest"
            is_sooner = model.name not in found or ticks[0] < found[model.name].at
            if is_reported and settings.wants(model.name) and is_sooner:
                found[model.name] = Coming(*ticks)
    return found


def new_waits(
    backlog: Mapping[str, int],
    per_second: float,
    coming: Mapping[str, Coming],
    synced: Mapping[str, datetime],
    earlier: Mapping[str, ReportWait],
    now: datetime,
) -> list[ReportWait]:
    """Return the waits that begin now, the largest backlog first, until the rest can be read before the next syncs.

    A model does not wait if its schedule seems not to run, because its last two syncs are missing, or if it was not
    synced since it last waited.

    Args:
        backlog: Model → objects that are to be read; without the models that wait already.
        per_second: Objects that are read in a second.
        coming: Model → its next scheduled syncs.
        synced: Model → up to when its latest sync has observed Canvas.
        earlier: Model → its last wait.
        now: Current time.
    """
    waits = []
    left = sum(backlog.values())
    for model in sorted(backlog, key=lambda name: -backlog[name]):
        if model not in coming or model not in synced or per_second <= 0:
            continue
        syncs = coming[model]
        is_late = synced[model] < now - 2 * (syncs.then - syncs.at) - LONGEST_DELAY
        was_in_vain = model in earlier and synced[model] <= earlier[model].since
        takes = timedelta(seconds=left / per_second)
        if is_late or was_in_vain or takes <= max(syncs.at - now, SHORTEST_BACKLOG):
            continue
        waits.append(ReportWait(model, now, syncs.at, min(syncs.then, syncs.at + LONGEST_DELAY)))
        left -= backlog[model]
    return waits
