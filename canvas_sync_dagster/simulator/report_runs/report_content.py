"""The tables that a report run holds: parameters and a university in, frames out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.report_runs.report_run import ReportRun
from canvas_sync_dagster.simulator.report_tables.offered_reports import PROPRIETARY, ROOT_ONLY, SINGLE, STOCK
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery, truthy
from canvas_sync_dagster.simulator.report_tables.table_parts import parts_of
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

Content = str | Callable[[Mapping[str, Any]], str]
"""CSV of a custom report, or a function that makes it from the parameters of the request."""
ROOT_ONLY_MESSAGE = "This report can only be run on the root account."


def refusal_of(run: ReportRun, custom: Mapping[str, Content]) -> str | None:
    """Return what Canvas shows as `extra_text` of a report that ends as `error` at once; None if it runs.

    Args:
        run: The report's name and account.
        custom: Custom reports: name → content; they run on every account.
    """
    refused = run.name in ROOT_ONLY and run.name not in custom and run.account != ROOT_ACCOUNT
    return ROOT_ONLY_MESSAGE if refused else None


def tables_of(
    run: ReportRun, university: University, custom: Mapping[str, Content]
) -> dict[str, Iterator[pl.DataFrame]]:
    """Return the tables of a report run: name → rows, in parts that are made when they are taken.

    Args:
        run: The report's name, account and parameters.
        university: What it reports on.
        custom: Custom reports: name → content.

    Raises:
        ValueError: `updated_after` is not a time, or the term no longer exists.
    """
    if run.name in custom:
        return {run.name: iter([_frame(custom[run.name], run.parameters)])}
    query = _query(run, university)
    if run.name in SINGLE:
        return {run.name: parts_of(run.name, SINGLE[run.name], university, query)}
    known = STOCK if run.name == "provisioning_csv" else PROPRIETARY
    asked = {name: make for name, make in known.items() if truthy(run.parameters.get(name))}
    tables = {name: parts_of(name, make, university, query) for name, make in asked.items()}
    # Canvas reads this one parameter raw: even the text "false" turns the filter on.
    if run.parameters.get("created_by_sis") is None:
        return tables
    return {name: map(_created_by_sis, parts) for name, parts in tables.items()}


def _created_by_sis(part: pl.DataFrame) -> pl.DataFrame:
    return part.filter(created_by_sis=True) if "created_by_sis" in part.columns else part


def asked_term(parameters: Mapping[str, Any]) -> str:
    """Return the term that a request names, by id or `sis_term_id:…`; empty for all terms."""
    return str(parameters.get("enrollment_term_id") or parameters.get("enrollment_term") or "")


def term_of(university: University, parameters: Mapping[str, Any]) -> tuple[int | None, str] | None:
    """Return id and name of the term that is asked for; None if there is no such term."""
    asked = asked_term(parameters)
    if not asked:
        return None, "All Terms"
    # Canvas looks the term up among all of the root account's, the deleted ones included.
    by_sis = asked.startswith("sis_term_id:")
    key, value = ("sis_id", asked.removeprefix("sis_term_id:")) if by_sis else ("id", asked)
    found = university.terms.filter(pl.col(key).cast(pl.String) == value)
    if found.is_empty():
        return None
    return int(found.get_column("id")[0]), str(found.get_column("name")[0])


def _query(run: ReportRun, university: University) -> ReportQuery:
    # The stock report has no parameter for increments.
    since = run.parameters.get("updated_after") if run.name != "provisioning_csv" else None
    term = term_of(university, run.parameters)
    if term is None:
        raise ValueError("unknown term")
    return ReportQuery(
        term[0],
        deleted=truthy(run.parameters.get("include_deleted")),
        updated_after=_moment(str(since)) if since else None,
        account=run.account,
    )


def _frame(content: Content, parameters: Mapping[str, Any]) -> pl.DataFrame:
    text = content if isinstance(content, str) else content(parameters)
    return pl.read_csv(io.BytesIO(text.encode()), infer_schema=False)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
