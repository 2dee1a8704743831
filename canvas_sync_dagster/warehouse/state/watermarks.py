"""SQL on `canvas_sync_watermarks`: how fresh each model is in each scope, written in the transaction of its data."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

import polars as pl
from psycopg import sql

from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.warehouse.column_versions import Versions, unfilled_columns
from canvas_sync_dagster.warehouse.warehouse import Warehouse

TABLE = "canvas_sync_watermarks"
ROW_MARK = "rows:"
"""Beginning of the name of a watermark of rows that go to the user's function and not to the table."""
NO_VERSIONS: Mapping[str, Versions] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Watermark:
    """How fresh a model is in a scope.

    Attributes:
        observed_at: Freshness of the newest load.
        full_observed_at: Freshness of the newest complete load.
        parameters: Digest of the parameters of the newest load's report, other than its term and `updated_after`.
        full_started_at: When the sync of the newest complete load started, on our own clock.
        unfilled: Columns that the newest complete load has not filled, as they are now.
    """

    observed_at: datetime | None
    full_observed_at: datetime | None
    parameters: str = ""
    full_started_at: datetime | None = None
    unfilled: tuple[str, ...] = ()

    def is_ahead(self, now: datetime) -> bool:
        """Return whether the watermark lies in the future, because a clock was wrong."""
        return any(at is not None and at > horizon(now) for at in (self.observed_at, self.full_observed_at))

    def believed(self, now: datetime) -> Watermark:
        """Return the watermark without the times that lie in the future, as a sync reads it."""

        def past(at: datetime | None) -> datetime | None:
            return None if at is not None and at > horizon(now) else at

        return replace(
            self,
            observed_at=past(self.observed_at),
            full_observed_at=past(self.full_observed_at),
            full_started_at=past(self.full_started_at),
        )


def row_mark(model: str) -> str:
    """Return the name of the watermark of a model whose rows go to the user's function and not to the table."""
    return f"{ROW_MARK}{model}"


def model_marked(name: str) -> str:
    """Return the name of the model that a watermark is about, wherever the rows go."""
    return name.removeprefix(ROW_MARK)


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The watermarks of a tenant. Their names are those of models, those of `row_mark`, or those of custom reports."""

    warehouse: Warehouse

    def lock(self, names: Iterable[str], scope: str) -> None:
        """Make loads of one scope wait for each other until the transaction ends, always in the same order."""
        for name in sorted(names):
            self.warehouse.lock("load", name, scope)

    def read(
        self, names: Iterable[str], scope: str, versions: Mapping[str, Versions] = NO_VERSIONS
    ) -> dict[str, Watermark]:
        """Read the watermarks of the models that were ever loaded in a scope; a time in the future counts as none.

        Args:
            names: Of the watermarks.
            scope: Canvas term id, or empty.
            versions: Name → versions of the columns that a load would fill now.
        """
        query = sql.SQL(
            "select model, case when observed_at <= %s then observed_at end, "
            "case when full_observed_at <= %s then full_observed_at end, coalesce(parameters, ''), "
            "case when full_started_at <= %s then full_started_at end, filled "
            "from {} where scope = %s and model = any(%s)"
        ).format(self._table)
        latest = horizon()
        rows = self.warehouse.connection.execute(query, (latest, latest, latest, scope, list(names))).fetchall()
        return {str(name): _watermark(versions.get(name), *rest) for name, *rest in rows}

    def read_all(self, versions: Mapping[str, Versions] = NO_VERSIONS) -> dict[tuple[str, str], Watermark]:
        """Read all watermarks as they are, also those whose times lie in the future.

        Args:
            versions: Name → versions of the columns that a load would fill now.

        Returns:
            Model and scope → its watermark; if both the table and the user's function take rows, the fresher one.
        """
        query = sql.SQL(
            "select model, scope, observed_at, full_observed_at, coalesce(parameters, ''), full_started_at, {} from {} "
            "order by observed_at nulls first"
        ).format(sql.SQL("filled" if versions else "null"), self._table)
        rows = self.warehouse.connection.execute(query).fetchall()
        return {(model_marked(name), scope): _watermark(versions.get(name), *rest) for name, scope, *rest in rows}

    def sync_times(self) -> dict[tuple[str, str], datetime]:
        """Read when each model was last synced in each scope, on the database's clock; empty without the table.

        Returns:
            Model and scope → when its watermark was written.
        """
        if not self.warehouse.has(TABLE):
            return {}
        query = sql.SQL("select model, scope, updated_at from {} order by updated_at").format(self._table)
        rows = self.warehouse.connection.execute(query).fetchall()
        return {(model_marked(name), scope): at for name, scope, at in rows}

    def synced_terms(self) -> set[str]:
        """Read the ids of the terms of which anything was ever synced; empty without the table."""
        if not self.warehouse.has(TABLE):
            return set()
        query = sql.SQL("select distinct scope from {} where scope <> '' and observed_at is not null")
        return {str(scope) for (scope,) in self.warehouse.connection.execute(query.format(self._table)).fetchall()}

    def newest(self, model: str) -> datetime | None:
        """Return the freshness of the newest load of a model in any scope; a time in the future counts as none."""
        query = sql.SQL("select max(observed_at) from {} where model = %s and observed_at <= %s").format(self._table)
        row = self.warehouse.connection.execute(query, (model, horizon())).fetchone()
        return row[0] if row else None

    def advance(
        self,
        name: str,
        scope: str,
        *,
        observed_at: datetime,
        complete: bool,
        report_id: int | None,
        started_at: datetime | None = None,
        parameters: str = "",
        versions: Versions | None = None,
    ) -> None:
        """Move a watermark forward, never back unless it lies in the future, in the caller's transaction.

        Args:
            name: Of the watermark.
            scope: Canvas term id, or empty.
            observed_at: Freshness of the load.
            complete: Whether the load covered the whole scope.
            report_id: Of the report in Canvas; None if there was none.
            started_at: When the sync of the load started, on our own clock.
            parameters: Digest of the report's parameters, other than its term and `updated_after`.
            versions: Versions of the columns that the load filled; None if it filled none of a table.
        """
        latest = sql.Literal(horizon())
        outdated = sql.SQL(
            "excluded.full_observed_at is null or (w.full_observed_at > excluded.full_observed_at "
            "and w.full_observed_at <= {latest})"
        ).format(latest=latest)
        query = sql.SQL(
            "insert into {} as w (model, scope, observed_at, full_observed_at, full_started_at, report_id, parameters, "
            "filled) values (%s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict (model, scope) do update set updated_at = now(), report_id = excluded.report_id, "
            "parameters = case when w.observed_at > excluded.observed_at and w.observed_at <= {latest} "
            "then w.parameters else excluded.parameters end, "
            "observed_at = greatest(case when w.observed_at <= {latest} then w.observed_at end, excluded.observed_at), "
            "full_started_at = case when {outdated} then w.full_started_at else excluded.full_started_at end, "
            "filled = case when {outdated} then w.filled else excluded.filled end, "
            "full_observed_at = greatest(case when w.full_observed_at <= {latest} then w.full_observed_at end, "
            "excluded.full_observed_at)"
        ).format(self._table, latest=latest, outdated=outdated)
        full_observed_at, full_started_at = (observed_at, started_at) if complete else (None, None)
        filled = json.dumps(dict(versions)) if complete and versions is not None else None
        values = (name, scope, observed_at, full_observed_at, full_started_at, report_id, parameters, filled)
        self.warehouse.connection.execute(query, values)

    def out_of_scope_keys(self, model: str) -> dict[str, pl.DataFrame]:
        """Read the keys that complete reports of a term listed although the tables do not show that they belong to it.

        The course or enrollment of such a row is not in its table, or the model does not declare how a row's term is
        found. The keys are kept with the watermark, so that the next complete report of the term can show which of them
        it no longer lists.

        Returns:
            Scope → keys.
        """
        query = sql.SQL("select scope, strays from {} where model = %s and strays is not null").format(self._table)
        rows = self.warehouse.connection.execute(query, (model,)).fetchall()
        return {str(scope): pl.read_ipc(io.BytesIO(content)) for scope, content in rows}

    def keep_out_of_scope_keys(self, model: str, scope: str, keys: pl.DataFrame) -> None:
        """Replace the out-of-scope keys of a model and scope, in the caller's transaction."""
        content: bytes | None = None
        if keys.height:
            file = io.BytesIO()
            keys.write_ipc(file, compression="zstd")
            content = file.getvalue()
        query = sql.SQL(
            "insert into {} as w (model, scope, strays) values (%s, %s, %s) on conflict (model, scope) "
            "do update set strays = excluded.strays where w.strays is distinct from excluded.strays"
        ).format(self._table)
        self.warehouse.connection.execute(query, (model, scope, content))

    def keep_held(self, model: str, scope: str, held: str | None) -> None:
        """Keep why the volume gate holds a model and scope, or None if it does not, in the caller's transaction."""
        query = sql.SQL(
            "insert into {} as w (model, scope, held) values (%s, %s, %s) on conflict (model, scope) "
            "do update set held = excluded.held where w.held is distinct from excluded.held"
        ).format(self._table)
        self.warehouse.connection.execute(query, (model, scope, held))

    def held(self) -> dict[tuple[str, str], str]:
        """Return model and scope → why the volume gate holds them, since their latest complete report."""
        query = sql.SQL("select model, scope, held from {} where held is not null order by model, scope")
        rows = self.warehouse.connection.execute(query.format(self._table)).fetchall()
        return {(str(model), str(scope)): str(held) for model, scope, held in rows}

    @property
    def _table(self) -> sql.Identifier:
        return self.warehouse.identifier(TABLE)


def _watermark(
    versions: Versions | None,
    observed_at: datetime | None,
    full_observed_at: datetime | None,
    parameters: str,
    full_started_at: datetime | None,
    filled: str | None,
) -> Watermark:
    """Return a watermark as it was read.

    Args:
        versions: Versions of the columns that a load would fill now; None if they do not matter.
        observed_at: As the attribute.
        full_observed_at: As the attribute.
        parameters: As the attribute.
        full_started_at: As the attribute.
        filled: Versions of the columns that the newest complete load filled, as JSON.
    """
    unfilled = () if versions is None else unfilled_columns(json.loads(filled) if filled else None, versions)
    return Watermark(observed_at, full_observed_at, parameters, full_started_at, unfilled)
