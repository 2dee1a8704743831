"""Rejected rows, tried again after their mapping was mended."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from canvas_sync_dagster.catalogue import Enrichment, Model, ProvisioningFeed, ReportFeed
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.loading.known_rows import keep_known
from canvas_sync_dagster.warehouse.loading.load import (
    LoadCounts,
    RejectLimits,
    Source,
    enrich_csv,
    load_csv,
    load_rows,
)
from canvas_sync_dagster.warehouse.state.rejected_rows import OBJECT, KeptReject, RejectedRows
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Observation of a row without a known one: every other observation is newer."""
NEVER = RejectLimits(fraction=1.0)


@dataclass(frozen=True, slots=True)
class Replay:
    """Result of replaying a model's rejected rows.

    Attributes:
        tried: Rows that were loaded again.
        loaded: Of them, those that are in the table now, or for which the table has a newer observation.
        left: Those that were rejected again.
    """

    tried: int = 0
    loaded: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    """Properties that rejected rows share when they are loaded together: one file, one time."""

    header: str
    scope: str
    report: str
    number: int | None
    observed_at: datetime
    alone: int
    """Id of a row with an open quote, which must not swallow its neighbours; else 0."""


def replay_rejects(url: str, schema: str, model: Model) -> Replay:
    """Loads a model's rejected rows again, the oldest first, each under the header of its file and as old as it is.

    What is loaded leaves the table of rejects, in the same transaction; what is not stays, with its new reason. A row
    that a complete report has spoken of since changes nothing any more. Rows whose raw text is not what stood in the
    file (NUL bytes, no UTF-8) are not tried.
    """
    extras = model.feed.enrichments if isinstance(model.feed, ProvisioningFeed) else ()
    tried = left = 0
    with transaction(url, f"replaying rejects of {model.name}") as connection:
        table = Warehouse(connection, schema).table(model)
        for extra in (None, *extras):
            rejected_rows, name = RejectedRows(table.warehouse), extra.table if extra else model.name
            taken = rejected_rows.take(name)
            for file, rows in _by_file(taken).items():
                counts = _load(table, extra, file, rows)
                tried += counts.rows_in_report
                left += counts.rejected
            rejected_rows.restore_sightings(name)
    return Replay(tried, tried - left, left)


def _load(table: Table, extra: Enrichment | None, file: _File, rows: list[tuple[int, str]]) -> LoadCounts:
    model = table.model
    Watermarks(table.warehouse).lock([model.name], file.scope)
    content, lines = _written(file.header, rows)
    source = replace(_source(table, file), lines=lines)
    if file.header == OBJECT:
        return load_rows(table, [json.loads(raw) for _, raw in rows], source, keep_rejects=True, limits=NEVER)
    opener = partial(io.BytesIO, content)
    if extra is not None:
        return enrich_csv(table, extra, opener, source, limits=NEVER)
    prefer = model.feed.prefer if isinstance(model.feed, (ProvisioningFeed, ReportFeed)) else None
    with keep_known(table, opener, source) as (narrow, known, unfit):
        counts = load_csv(narrow, known, source, prefer=prefer, limits=NEVER)
    return replace(counts, rows_in_report=counts.rows_in_report + unfit, rejected=counts.rejected + unfit)


def _by_file(rejects: Iterable[KeptReject]) -> dict[_File, list[tuple[int, str]]]:
    """Group rejected rows by their file; return each file with the lines and texts of its rows."""
    files: dict[_File, list[tuple[int, str]]] = defaultdict(list)
    for each in rejects:
        alone = each.id if each.header != OBJECT and each.raw.count('"') % 2 else 0
        file = _File(each.header, each.scope, each.report, each.report_id, each.observed_at or EPOCH, alone)
        files[file].append((each.line, each.raw))
    return files


def _written(header: str, rows: list[tuple[int, str]]) -> tuple[bytes, dict[int, int]]:
    """Writes rows as a file of their own; returns it with the line where each stood."""
    lines, at = {}, header.count("\n") + 2
    for line, raw in rows:
        lines[at] = line
        at += raw.count("\n") + 1
    return "\n".join([header, *(raw for _, raw in rows), ""]).encode(), lines


def _source(table: Table, file: _File) -> Source:
    name = table.model.name
    mark = Watermarks(table.warehouse).read([name], file.scope).get(name)
    return Source(
        file.scope,
        file.observed_at,
        file.report,
        file.number,
        complete=False,
        watermark=mark.full_observed_at if mark else None,
    )
