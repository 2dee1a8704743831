"""Rejected rows, tried again after their mapping was mended."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, ProvisioningFeed, ReportFeed
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.load import RejectLimits, Source, load_csv

NEVER = RejectLimits(fraction=1.0, minimum=1 << 60)


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of a model's rejected rows.

    Attributes:
        tried: Rows that were loaded again.
        loaded: Of them, those that are in the table now, or that something fresher stands there for.
        left: Those that were rejected again.
    """

    tried: int = 0
    loaded: int = 0
    left: int = 0


def replay_rejects(url: str, schema: str, model: Model) -> Replay:
    """Loads a model's rejected rows again, each under the header of its file and as old as it is.

    What is loaded leaves the table of rejects, in the same transaction; what is not stays, with its new reason.
    """
    table = sql.Identifier(schema, "canvas_sync_rejected_rows")
    prefer = model.feed.prefer if isinstance(model.feed, (ProvisioningFeed, ReportFeed)) else None
    tried = left = 0
    with transaction(url, f"replaying rejects of {model.name}") as connection:
        query = sql.SQL(
            "delete from {} where model = %s and header is not null "
            "returning header, scope, report, report_id, source_observed_at, raw"
        ).format(table)
        files: dict[tuple[str, str, str, int | None, datetime], list[str]] = defaultdict(list)
        for header, scope, report, number, observed, raw in connection.execute(query, (model.name,)).fetchall():
            files[header, scope, report or "", number, observed or datetime(1970, 1, 1, tzinfo=UTC)].append(raw)
        for (header, scope, report, number, observed), rows in files.items():
            content = (header + "\n" + "\n".join(rows) + "\n").encode()
            source = Source(scope, observed, report, number, complete=False)
            opener = partial(io.BytesIO, content)
            counts = load_csv(connection, schema, model, opener, source, prefer=prefer, limits=NEVER)
            tried += counts.rows_in_report
            left += counts.rejected
    return Replay(tried, tried - left, left)
