"""Report tables of modules, content migrations and course progress; their headers are assumed."""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery, in_term, local, students
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

NOTHING = pl.lit(None, pl.String)

MODULES_PER_COURSE = 3


def modules(u: University) -> pl.DataFrame:
    """Modules of all courses, as Canvas holds them."""
    frames = [u.courses.with_columns(n=pl.lit(n)) for n in range(MODULES_PER_COURSE)]
    return pl.concat(frames).select(
        id=pl.col("id") * 8 + pl.col("n"),
        course_id="id",
        term_id="term_id",
        position=pl.col("n") + 1,
        name=pl.format("Week {}: “start”", "n"),
        state=pl.when(pl.col("state") == "deleted").then(pl.lit("deleted")).otherwise(pl.lit("active")),
        updated_at="updated_at",
    ).sort("id")  # fmt: skip


def context_modules(u: University, q: ReportQuery) -> pl.DataFrame:
    return q.recent(_of_term(modules(u), q)).select(
        canvas_context_module_id="id",
        canvas_context_id="course_id",
        canvas_context_type=pl.lit("Course"),
        position="position",
        name="name",
        workflow_state="state",
        deleted_at=pl.when(pl.col("state") == "deleted").then(local("updated_at")),
        unlock_at=NOTHING,
        completion_requirements=pl.lit('---\n- :id: 1\n  :type: "must_view"\n'),
        prerequisites=pl.lit("--- []\n"),
    )


def context_module_items(u: University, q: ReportQuery) -> pl.DataFrame:
    return q.recent(_of_term(modules(u), q)).select(
        canvas_context_module_item_id=pl.col("id") * 2 + 1,
        canvas_context_module_id="id",
        position=pl.lit(1),
        canvas_content_id=pl.col("course_id") * 16,
        canvas_content_type=pl.lit("Assignment"),
        canvas_assignment_id=pl.col("course_id") * 16,
        workflow_state="state",
    )


def content_migrations(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = q.recent(u.courses.filter(pl.col("id") % 5 == 0))
    return rows.select(
        canvas_content_migration_id=pl.col("id") + 40_000,
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        workflow_state=pl.lit("imported"),
        migration_settings=pl.lit("---\n:migration_type: course_copy_importer\n"),
        started_at=pl.lit("2026-08-02T08:00:00-06:00"),
        finished_at=pl.lit("2026-08-02T08:01:30-06:00"),
        progress=pl.lit(100.0),
        canvas_source_course_id=pl.col("id") - 1,
        migration_type=pl.lit("course_copy_importer"),
        canvas_child_subscription_id=NOTHING,
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
    )


def course_progresses(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = in_term(u, q, students(u)).unique(["course_id", "user_id"], keep="first", maintain_order=True)
    done = u.chance("id", "progress", MODULES_PER_COURSE + 1).cast(pl.Int64)
    return q.recent(rows).select(
        canvas_course_id="course_id",
        canvas_user_id="user_id",
        requirement_count=pl.lit(MODULES_PER_COURSE),
        requirement_completed_count=done,
        completion_date=pl.when(done == MODULES_PER_COURSE).then(pl.lit("2026-08-30T10:00:00-06:00")),
    )


def _of_term(frame: pl.DataFrame, q: ReportQuery) -> pl.DataFrame:
    return frame if q.term is None else frame.filter(pl.col("term_id") == q.term)
