"""`simple_table`: a custom report that fills a table, without a function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from canvas_sync_dagster.catalogue.model import SYSTEM_COLUMNS, Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.catalogue.parameters import ADDED_BY_CANVAS, encoded, refuse_owned
from canvas_sync_dagster.catalogue.user_names import STATE_PREFIX, column_name, column_type, header_name
from canvas_sync_dagster.errors import SettingError

TERM = ("enrollment_term_id", "enrollment_term")
ALLOWED = "texts, numbers, true, false, dates, lists and mappings of them; None omits a parameter"

Declared = str | Mapping[str, str]
"""A column, or its name and type."""


def declared_table(
    name: str,
    *,
    report: str,
    key: Sequence[str],
    columns: Mapping[str, Declared],
    parameters: Mapping[str, object],
    per_term: bool,
    updated_after: bool,
    parents: Sequence[str],
) -> Model:
    """Return the model of a table that a report fills.

    Args:
        name: Name of the model and its table.
        report: Name of the report in Canvas.
        key: Columns of the primary key.
        columns: Header → column, or header → name and type of the column.
        parameters: Parameters of the report.
        per_term: Whether the report is requested for each term.
        updated_after: Whether the report accepts `updated_after`.
        parents: Models that are loaded before it.

    Raises:
        SettingError: The declaration is inconsistent, or PostgreSQL would reject it.
    """
    where = f"simple_table {name}"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) or name.startswith(STATE_PREFIX):
        allowed = f"lowercase letters, digits and underscores, at most 63, not beginning with {STATE_PREFIX}"
        raise SettingError("simple_table", "not a valid table name", allowed=allowed, value=name)
    return Model(
        name=name,
        columns=_columns(columns, key, where),
        feed=ReportFeed(
            report_name(report, where),
            report_parameters(parameters, where, per_term=per_term, updated_after=updated_after),
            takes_updated_after=updated_after,
        ),
        key=tuple(key),
        term_scoped=per_term,
        parents=tuple(parents),
        comment=f"Rows of {report}.",
    )


def report_name(name: object, where: str) -> str:
    """Return Canvas's name of a report.

    Raises:
        SettingError: It is no text, or has other characters than names of reports have.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        allowed = "Canvas's name of it, such as rubrics_csv"
        raise SettingError(f"{where}: report", "not a valid report name", allowed=allowed, value=name)
    return name


def report_parameters(
    given: Mapping[str, object], where: str, *, per_term: bool, updated_after: bool
) -> dict[str, Any]:
    """Encode the parameters of a custom report.

    Raises:
        SettingError: The sync sets one of them itself, or a value cannot be sent to Canvas.
    """
    owned = {*ADDED_BY_CANVAS, *(TERM if per_term else ()), *(("updated_after",) if updated_after else ())}
    try:
        refuse_owned(given, owned)
        return encoded(given)
    except ValueError as error:
        raise SettingError(f"{where}: params", str(error), allowed=ALLOWED) from None


def _columns(given: Mapping[str, Declared], key: Sequence[str], where: str) -> tuple[Column, ...]:
    if not isinstance(given, Mapping):
        raise SettingError(f"{where}: columns", "expected a mapping", allowed="{header: column}", value=given)
    columns = tuple(_column(header, declared, where, key) for header, declared in given.items())
    names = [column.name for column in columns]
    system = {column.name for column in SYSTEM_COLUMNS}
    if taken := sorted({name for name in names if name in system or names.count(name) > 1}):
        raise SettingError(f"{where}: columns", "the column exists already", allowed="a different name", value=taken[0])
    if unknown := [name for name in key if name not in names] or ([""] if not key else []):
        raise SettingError(f"{where}: key", "unknown column", allowed=", ".join(names), value=unknown[0])
    return columns


def _column(header: str, given: Declared, where: str, key: Sequence[str]) -> Column:
    header_name(header, f"{where}: columns")
    if not isinstance(given, (str, Mapping)):
        allowed = 'a column, or {"name": column, "type": type}'
        raise SettingError(f"{where}: {header}", "expected a column", allowed=allowed, value=given)
    named = {"name": given} if isinstance(given, str) else dict(given)
    if unknown := sorted(set(map(str, named)) - {"name", "type"}):
        raise SettingError(f"{where}: {header}", "unknown key", allowed="name, type", value=unknown[0])
    name = column_name(named.get("name", header), f"{where}: {header}")
    default = ColumnType.BIGINT if name in key and name.endswith("_id") else ColumnType.TEXT
    return Column(name, column_type(named["type"], f"{where}: {name}") if "type" in named else default, (header,))
