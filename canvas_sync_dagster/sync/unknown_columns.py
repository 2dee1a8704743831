"""Apply the setting `unknown_columns` to a downloaded report, before the transaction that publishes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from canvas_sync_dagster.canvas.archive import Opener, open_tables
from canvas_sync_dagster.canvas.reports import ReportFiles
from canvas_sync_dagster.catalogue import Model, ProvisioningFeed
from canvas_sync_dagster.catalogue.added_columns import columns_for, undeclared_headers, with_added
from canvas_sync_dagster.errors import HeaderContractError
from canvas_sync_dagster.sync.declared_columns import with_tenants_columns
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.report_request import ReportRequest
from canvas_sync_dagster.warehouse.reading.joined import joined
from canvas_sync_dagster.warehouse.reading.report_csv import ReportCsv
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.schema.existing import read_columns
from canvas_sync_dagster.warehouse.state.observed_headers import read_added, remember_added
from canvas_sync_dagster.warehouse.warehouse import Warehouse

MOST_ADDED = 200
"""Columns that are added to a table at most. The widest report has about 40 columns; PostgreSQL allows 1,600."""


def tables_of(request: ReportRequest, content: ReportFiles) -> Mapping[str, Opener]:
    """Return table of a report → what opens its CSV; the parts of a split report are one CSV.

    Raises:
        ReportContentError: A file is not the report, or lacks a table.
        HeaderContractError: The parts have different headers.
    """
    names = request.tables() or [request.report]
    parts: list[tuple[str, Mapping[str, Opener]]] = []
    for account, file in content.parts.items():
        of_account = f" of account {account}" if request.split else ""
        where = f"{request.report} {file.status.id}{of_account}"
        parts.append((where, open_tables(file.path, names, where=where)))
    return {name: joined([(f"{where}, {name}", tables[name]) for where, tables in parts]) for name in names}


def table_in_report(request: ReportRequest, model: Model) -> str:
    """Return the name of the table of a report that feeds a model."""
    return model.feed.table if isinstance(model.feed, ProvisioningFeed) else request.report


def settle_unknown_columns(flow: Flow, request: ReportRequest, content: ReportFiles) -> None:
    """Refuse a report with unknown columns, or add them to the tables, as the tenant's settings require.

    Args:
        flow: The sync.
        request: What was requested.
        content: The downloaded report.

    Raises:
        HeaderContractError: A model has unknown columns and the setting `fail`, or too many columns would be added.
        SchemaError: The database user may not add a column.
    """
    policies = {model.name: flow.session.tenant.policy_for_unknown_columns(model.name) for model in request.models}
    chosen = [m for m in request.models if policies[m.name] != "warn" and m.name not in flow.row_functions]
    if not chosen:
        return
    tables = tables_of(request, content)
    source = Source(flow.scope, content.observed_at, request.report, content.report_id)
    files = [ReportCsv.open(tables[table_in_report(request, model)], model, source) for model in chosen]
    refused = [each for each in files if policies[each.model.name] == "fail" and each.match.unknown]
    if refused:
        names = "; ".join(f"{each.model.name}: {', '.join(each.match.unknown)}" for each in refused)
        raise HeaderContractError(
            f"tenant {flow.session.tenant.slug}: {request.report} {content.report_id} has unknown columns ({names}), and the "
            "setting unknown_columns is fail. Nothing was published. Map them with link_column, or set unknown_columns to "
            "warn or add."
        )
    for each in files:
        if policies[each.model.name] == "add":
            _add(flow, each.model, undeclared_headers(each.model, each.match.header), where=each.where)


def with_added_columns(flow: Flow, warehouse: Warehouse, model: Model) -> Model:
    """Return a model with the columns that were added to its table, if the tenant's settings require it."""
    return model if model.name in flow.row_functions else with_tenants_columns(warehouse, flow.session.tenant, model)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of a table.

    Attributes:
        added: Normalized header → column, of those that were added.
        existing: All.
    """

    added: Mapping[str, str]
    existing: frozenset[str]

    @classmethod
    def read(cls, warehouse: Warehouse, model: Model) -> _Columns:
        existing = read_columns(warehouse.connection, warehouse.schema, model.table)
        return cls(read_added(warehouse, model.name), frozenset(existing))

    def lack(self, headers: Sequence[str]) -> list[str]:
        """Return the headers for which the table has no column yet, and those whose column was dropped."""
        dropped = [header for header, column in self.added.items() if column not in self.existing]
        return [*dropped, *(header for header in headers if header not in self.added)]


def _add(flow: Flow, model: Model, headers: Sequence[str], *, where: str) -> None:
    session = flow.session
    with session.warehouse("looking for added columns") as warehouse:
        lacking = _Columns.read(warehouse, model).lack(headers)
    if not lacking:
        return
    with session.warehouse("adding columns") as warehouse:
        warehouse.lock("added columns", model.name)
        columns = _Columns.read(warehouse, model)
        added = columns_for(model, headers, columns.added, columns.existing)
        if len(added) > MOST_ADDED:
            raise HeaderContractError(
                f"{where}: {len(added)} columns would be added to {model.table}, and at most {MOST_ADDED} are. Nothing was "
                "published. Look at the report in Canvas; set unknown_columns to warn, and map the columns that you need."
            )
        remember_added(warehouse, model.name, added)
    # Only here, for alembic takes a third of a second to import.
    from canvas_sync_dagster.warehouse.schema.migrate import migrate  # noqa: PLC0415

    models = [with_added(each, added) if each.name == model.name else each for each in session.models]
    changes = migrate(session.database_url, session.schema, models).changes
    flow.log(
        f"{model.name}: the report has undeclared columns: {', '.join(changes)}; the next sync of each scope is full, unless this one is"
    )
