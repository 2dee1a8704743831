"""The tables, derived from the catalogue: one per model, and those that hold the sync's own state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from canvas_sync_dagster.catalogue import SYSTEM_COLUMNS, ColumnType, Model
from canvas_sync_dagster.warehouse.schema.history import HISTORY_COLUMNS, TIMES
from canvas_sync_dagster.warehouse.schema.names import digest_table_name, history_table_name, object_name

TYPES: dict[ColumnType, sa.types.TypeEngine[Any]] = {
    ColumnType.BIGINT: sa.BigInteger(),
    ColumnType.TEXT: sa.Text(),
    ColumnType.BOOLEAN: sa.Boolean(),
    ColumnType.NUMERIC: sa.Numeric(),
    ColumnType.TIMESTAMP: sa.DateTime(timezone=True),
    ColumnType.JSON: postgresql.JSONB(),
    ColumnType.BIGINT_ARRAY: postgresql.ARRAY(sa.BigInteger()),
}
NOTHING_EXISTS: Mapping[str, Mapping[str, str]] = MappingProxyType({})
INBOX = "canvas_sync_live_events"
DEFERRED_READS = "canvas_sync_live_event_reads"
INBOX_DEFAULT = f"{INBOX}_default"
"""Partition for events of days that have none, so that no event is ever refused for lack of one."""
HALF_FILLED = 45
"""Percent of a page that rejects fill at first. Each report that rejects them again writes their sighting on the same page,
in the place of the one before: without vacuum the table stays as large as it was, and no index is written."""
DEFAULTED = {"created_at", "updated_at"}
_NOW: dict[str, Any] = {"nullable": False, "server_default": sa.text("now()")}
FILLED = 90
"""Percent of a page that a load fills. In the rest a changed row stays on its page, and no index is written for it: with
1 % of the rows changed a merge takes 0.11 s per million rows in place of 0.25, for a tenth more disk."""


class Xid(sa.types.UserDefinedType[int]):
    """PostgreSQL's number of a transaction, the type of the system column `xmin`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type as DDL spells it."""
        return "xid"


# SQLAlchemy warns of a column whose type it does not know when it compares tables.
postgresql.dialect.ischema_names.setdefault("xid", Xid)


class Spelled(sa.types.UserDefinedType[object]):
    """A type as PostgreSQL spells it, of a column of the user's."""

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **_: object) -> str:
        """Return the type as DDL spells it."""
        return self.spelling


def tables(
    schema: str,
    models: Iterable[Model],
    digests_of: Collection[str] = (),
    existing: Mapping[str, Mapping[str, str]] = NOTHING_EXISTS,
) -> sa.MetaData:
    """Declares all tables of a tenant's schema.

    Args:
        schema: Postgres schema of the tenant.
        models: Those that the tenant syncs.
        digests_of: Names of models whose digests are in a table beside the model's.
        existing: Data table → column → type, as PostgreSQL spells it. A history has the types of its data table.
    """
    metadata = sa.MetaData(schema=schema)
    for model in models:
        _data_table(metadata, model)
        if model.name in digests_of:
            _digest_table(metadata, model)
        if model.history:
            _history_table(metadata, model, existing.get(model.table, {}))
    for declare in STATE_TABLE_DECLARATIONS:
        declare(metadata)
    return metadata


def _data_table(metadata: sa.MetaData, model: Model) -> None:
    own = [
        sa.Column(
            c.name, TYPES[c.type], primary_key=c.name in model.key, autoincrement=False, comment=c.comment or None
        )
        for c in model.columns
    ]
    system = [
        sa.Column(c.name, TYPES[c.type], **(_NOW if c.name in DEFAULTED else {}), comment=c.comment)
        for c in SYSTEM_COLUMNS
    ]
    indexes = [sa.Index(object_name(model.table, c.name, "idx"), c.name) for c in model.columns if c.indexed]
    room = {"fillfactor": FILLED}
    sa.Table(model.table, metadata, *own, *system, *indexes, comment=model.comment or None, postgresql_with=room)


def _digest_table(metadata: sa.MetaData, model: Model) -> None:
    key = [sa.Column(name, TYPES[model[name].type], primary_key=True, autoincrement=False) for name in model.key]
    sa.Table(
        digest_table_name(model.table),
        metadata,
        *key,
        sa.Column("row_hash", sa.BigInteger(), nullable=False),
        sa.Column("row_version", Xid(), nullable=False, comment="`xmin` of the row that the digest was recorded for."),
        comment=f"Digests of the report records that rows of {model.table} were last loaded from.",
    )


def _history_table(metadata: sa.MetaData, model: Model, types: Mapping[str, str]) -> None:
    name = history_table_name(model.table)
    own = [
        sa.Column(c.name, Spelled(types[c.name]) if c.name in types else TYPES[c.type], comment=c.comment or None)
        for c in model.columns
    ]
    added = [
        sa.Column(name, TYPES[ColumnType.TIMESTAMP] if name in TIMES else sa.Text(), nullable=False, comment=comment)
        for name, comment in HISTORY_COLUMNS.items()
    ]
    index = sa.Index(object_name(name, "key", "idx"), *model.key, "valid_to")
    sa.Table(name, metadata, *own, *added, index, comment=f"Earlier states of the rows of {model.table}.")


def _time(name: str, *, now: bool = False) -> sa.Column[Any]:
    return sa.Column(name, TYPES[ColumnType.TIMESTAMP], **(_NOW if now else {}))


def _text(name: str, *, nullable: bool = True, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=default)


def _number(name: str, *, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=default is None, server_default=default)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB())


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True)


def _job_logs(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_job_logs",
        metadata,
        _id(),
        _text("job_class", nullable=False),
        _json("job_arguments"),
        _text("job_id"),
        _text("status", nullable=False),
        _text("exception"),
        _text("backtrace"),
        _json("metadata"),
        _time("started_at"),
        _time("completed_at"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.Index("canvas_sync_job_logs_created_at_idx", "created_at"),
        sa.Index("canvas_sync_job_logs_job_id_idx", "job_id"),
        comment="The journal: what ran, when, and how it ended.",
    )


def _sync_batches(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_sync_batches",
        metadata,
        _id(),
        _text("status", nullable=False),
        sa.Column("full_sync", sa.Boolean()),
        _text("batch_genre", nullable=False, default="default"),
        _time("updated_after"),
        _time("started_at"),
        _time("completed_at"),
        _time("heartbeat_at"),
        _json("metadata"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        comment="Syncs over several runs.",
    )


def _reports(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_reports",
        metadata,
        _id(),
        _text("report", nullable=False),
        _json("parameters"),
        _text("fingerprint", nullable=False),
        _number("canvas_report_id"),
        _text("state", nullable=False),
        _number("tries", default="1"),
        _number("progress"),
        _time("first_requested_at", now=True),
        _time("requested_at", now=True),
        _time("canvas_requested_at"),
        _time("running_since"),
        _time("canvas_started_at"),
        _time("completed_at"),
        _text("failure"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.Index("canvas_sync_reports_fingerprint_idx", "fingerprint", "id"),
        comment="Reports that were asked of Canvas, so that a re-run takes up what is still being compiled.",
    )


def _watermarks(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_watermarks",
        metadata,
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("scope", sa.Text(), primary_key=True, comment="Canvas term id, or empty."),
        _time("observed_at"),
        _time("full_observed_at"),
        _time("full_started_at"),
        _number("report_id"),
        _text("parameters"),
        sa.Column("filled", sa.Text(), comment="Columns that the latest complete load filled, with their versions."),
        sa.Column("strays", sa.LargeBinary(), comment="Listed keys whose term is not known from the tables."),
        sa.Column(
            "held", sa.Text(), comment="Why the volume gate held the latest complete report; null if it did not."
        ),
        _time("updated_at", now=True),
        comment="How fresh each model is in each scope; advances in the transaction of its data.",
    )


def _rejected_rows(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_rejected_rows",
        metadata,
        _id(),
        _text("model", nullable=False),
        _text("scope", nullable=False, default=""),
        _text("report"),
        _number("report_id"),
        _number("line"),
        _text("column_name"),
        _text("reason", nullable=False),
        _text("raw"),
        _text("header"),
        _time("source_observed_at"),
        _time("created_at", now=True),
        _time("last_seen_at", now=True),
        _number("sightings", default="1"),
        sa.Index("canvas_sync_rejected_rows_model_idx", "model", "scope"),
        comment="Report rows that could not be loaded, with line, reason and raw text; one row for each, however often seen.",
        postgresql_with={"fillfactor": HALF_FILLED},
    )


def _inbox(metadata: sa.MetaData) -> None:
    sa.Table(
        INBOX,
        metadata,
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False, server_default=sa.text("(now() at time zone 'UTC')::date")),
        _text("event_name", nullable=False),
        _time("event_time"),
        _time("received_at", now=True),
        _text("state", nullable=False, default="pending"),
        _number("attempts", default="0"),
        _time("next_attempt_at", now=True),
        _text("error"),
        sa.Column("deferred", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("done", postgresql.ARRAY(sa.Text())),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", "received_on"),
        sa.Index("canvas_sync_live_events_content_key", "content_hash", "received_on", unique=True),
        sa.Index(
            "canvas_sync_live_events_waiting_idx",
            "id",
            postgresql_where=sa.text("state in ('pending', 'failed', 'dead') and not deferred"),
        ),
        comment="The inbox of live events; one partition per day.",
        postgresql_partition_by="RANGE (received_on)",
    )


def _deferred_reads(metadata: sa.MetaData) -> None:
    sa.Table(
        DEFERRED_READS,
        metadata,
        sa.Column("event_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        _text("model", nullable=False),
        _text("object", nullable=False),
        _text("list"),
        _time("received_at"),
        _time("created_at", now=True),
        sa.Index("canvas_sync_live_event_reads_object_idx", "model", "object"),
        sa.Index("canvas_sync_live_event_reads_list_idx", "model", "list"),
        comment="Deferred live events: their objects are to be read from Canvas.",
    )


def _remembered(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_remembered",
        metadata,
        sa.Column("name", sa.Text(), primary_key=True),
        _text("value"),
        _time("updated_at", now=True),
        comment="Answers of Canvas that are kept, such as the uuid of its root account.",
    )


def _walks(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_walks",
        metadata,
        _id(),
        _text("model", nullable=False),
        _text("scope", nullable=False),
        _text("fingerprint", nullable=False),
        _number("attempt", default="1"),
        _time("observed_at"),
        _time("locked_at"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.Index("canvas_sync_walks_model_idx", "model", "scope"),
        comment="Walks over REST that are in progress or were interrupted.",
    )
    sa.Table(
        "canvas_sync_walk_parents",
        metadata,
        sa.Column("walk_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("parent", sa.BigInteger(), primary_key=True, autoincrement=False),
        _number("attempt", default="1"),
        _text("result", nullable=False),
        _time("created_at", now=True),
        comment="Parents whose lists a walk has read.",
    )
    sa.Table(
        "canvas_sync_walk_rows",
        metadata,
        _id(),
        sa.Column("walk_id", sa.BigInteger(), nullable=False),
        _number("attempt", default="1"),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        _time("created_at", now=True),
        sa.Index("canvas_sync_walk_rows_walk_idx", "walk_id", "id"),
        comment="Rows that a walk has read and not yet published, in compressed parts.",
    )


def _alerts(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_alerts",
        metadata,
        sa.Column("channel", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("subject", sa.Text(), primary_key=True),
        _json("condition"),
        _time("opened_at", now=True),
        _time("notified_at"),
        _number("notified_size", default="0"),
        sa.Column("resolved", sa.Boolean(), nullable=False, server_default="false"),
        _number("attempts", default="0"),
        _time("next_attempt_at"),
        _text("error"),
        _time("updated_at", now=True),
        comment="Open alerts: what was sent to each channel, and what is still to be delivered.",
    )


def _erased_objects(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_erased_objects",
        metadata,
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("canvas_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        _time("erased_at", now=True),
        comment="Ids of erased people and of their rows, which no sync and no event brings back.",
    )


def _audits(metadata: sa.MetaData) -> None:
    shares = ("wrong_share", "wrong_low", "wrong_high", "missing_share", "missing_low", "missing_high")
    counts = ("rows", "rows_compared", "rows_unread", "rows_that_differ", "missing_there", "lists", "objects_looked_up",
              "missing_here", "undated", "lagging", "requests")  # fmt: skip
    sa.Table(
        "canvas_sync_audits",
        metadata,
        _id(),
        _text("model", nullable=False),
        _time("audited_at"),
        _number("sample"),
        _number("seed"),
        *(_number(name) for name in counts),
        *(sa.Column(name, sa.Float()) for name in shares),
        sa.Column("differing_columns", postgresql.JSONB(), comment="Column → rows of the sample that differ in it."),
        sa.Column("lag_p50_seconds", sa.Float()),
        sa.Column("lag_p95_seconds", sa.Float()),
        sa.Column("differences", postgresql.JSONB(), comment="Key, kind, cause and columns of each; no other values."),
        sa.Column("seconds", sa.Float()),
        _text("reason"),
        _number("repaired"),
        _time("created_at", now=True),
        sa.Index("canvas_sync_audits_model_idx", "model", "id"),
        comment="Audits: how a random sample of each table compared with Canvas.",
    )


def _schema_migrations(metadata: sa.MetaData) -> None:
    sa.Table(
        "canvas_sync_schema_migrations",
        metadata,
        _id(),
        _text("version", nullable=False),
        _json("changes"),
        _time("applied_at", now=True),
        comment="What `canvas-sync migrate` changed, and when.",
    )


STATE_TABLE_DECLARATIONS = (
    _job_logs,
    _sync_batches,
    _reports,
    _watermarks,
    _rejected_rows,
    _inbox,
    _deferred_reads,
    _remembered,
    _walks,
    _alerts,
    _erased_objects,
    _audits,
    _schema_migrations,
)
"""Each declares a state table."""
