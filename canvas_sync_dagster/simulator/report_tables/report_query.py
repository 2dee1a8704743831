"""The parameters that decide a report's rows, and the selections that several reports share."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

ZONE = "America/Denver"
"""Time zone of the root account; reports write times in it, across its summer time."""


class ReportQuery:
    """The parameters of a report that decide its rows.

    Args:
        term: Canvas's id of a term, or None for all.
        deleted: Value of `include_deleted`.
        updated_after: Only rows that changed later; stock reports have no such parameter.
        account: Id of the account; the report covers it and all accounts below it.
    """

    def __init__(
        self,
        term: int | None = None,
        *,
        deleted: bool = True,
        updated_after: datetime | None = None,
        account: int = ROOT_ACCOUNT,
    ) -> None:
        self.term = term
        self.deleted = deleted
        self.updated_after = updated_after
        self.account = account

    @property
    def of_root(self) -> bool:
        """Whether the whole university is asked for."""
        return self.account == ROOT_ACCOUNT

    def recent(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("updated_at") > self.updated_after) if self.updated_after else frame


def courses_asked(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = in_account(u, q, u.courses)
    rows = rows if q.term is None else rows.filter(pl.col("term_id") == q.term)
    live = ~pl.col("state").is_in(["deleted", "completed"])
    young = pl.col("updated_at") > u.now - timedelta(days=120)
    kept = (pl.col("state") != "deleted") | pl.col("sis_id").is_not_null() | young
    return rows.filter(kept if q.deleted else live)


def in_account(u: University, q: ReportQuery, courses: pl.DataFrame) -> pl.DataFrame:
    return courses if q.of_root else courses.filter(pl.col("account_id").is_in(u.subtree(q.account)))


def in_term(u: University, q: ReportQuery, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose `course_id` is in the term of the query."""
    if q.term is None:
        return rows
    homes = u.courses.filter(pl.col("term_id") == q.term).select(course_id="id")
    return rows.join(homes, on="course_id", how="semi", maintain_order="left")


def local(column: str) -> pl.Expr:
    """Return a time as text, as in reports: ISO 8601 with seconds, in the root account's zone."""
    return pl.col(column).dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%dT%H:%M:%S%:z")


def students(u: University) -> pl.DataFrame:
    live = u.enrollments.filter((pl.col("type") == "StudentEnrollment") & (pl.col("state") != "deleted"))
    homes = u.sections.select(section_id="id", course_id="course_id")
    return live.join(homes, on="section_id", maintain_order="left").sort("id")


def truthy(value: object) -> bool:
    """Return the boolean that Rails reads from a parameter."""
    return value is not None and str(value).lower() not in {"", "0", "false"}
