"""Report tables of assignments, submissions, scores and grading periods.

The headers of proserv_student_submissions_csv are known; those of the other reports are assumed: the column's own name,
with `canvas_` before ids.
"""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import (
    ReportQuery,
    courses_asked,
    in_account,
    in_term,
    local,
    students,
)
from canvas_sync_dagster.simulator.university.sizes import EPOCH
from canvas_sync_dagster.simulator.university.state import University

NOTHING = pl.lit(None, pl.String)


def assignments(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = u.assignments.join(
        courses_asked(u, q).select(course_id="id"), on="course_id", how="semi", maintain_order="left"
    )
    nothing = pl.lit(None, pl.String)
    return q.recent(rows).select(
        canvas_assignment_id="id",
        title="title",
        description="description",
        due_at=local("due_at"),
        unlock_at=nothing,
        lock_at=nothing,
        points_possible="points",
        min_score=nothing,
        max_score="points",
        mastery_score=nothing,
        grading_type=pl.lit("points"),
        submission_types=pl.lit("online_text_entry"),
        workflow_state="state",
        canvas_context_id="course_id",
        canvas_context_type=pl.lit("Course"),
        canvas_assignment_group_id=nothing,
        canvas_grading_scheme_id=nothing,
        canvas_grading_standard_id=nothing,
    )


def submissions(u: University, q: ReportQuery) -> pl.DataFrame:
    """One row per student and assignment, handed in or not."""
    courses_ = in_account(u, q, u.courses).select(course_id="id", course_sis="sis_id", course_name="name")
    sections_ = u.sections.select(section_id="id", section_sis="sis_id")
    people = u.users.select(
        user_id="id", user_name=pl.concat_str("first_name", "last_name", separator=" ").str.strip_chars()
    )
    live = u.logins.filter(pl.col("state") != "deleted")
    logins = live.group_by("user_id").agg(pl.col("sis_id").drop_nulls().first().alias("user_sis"))
    rows = q.recent(u.submissions(q.term)).join(courses_, on="course_id", maintain_order="left")
    for frame, key in ((sections_, "section_id"), (people, "user_id"), (logins, "user_id")):
        rows = rows.join(frame, on=key, how="left", maintain_order="left")
    return rows.select(
        pl.col("user_id").alias("canvas user id"),
        pl.col("user_sis").alias("sis user id"),
        pl.col("user_name").alias("user name"),
        pl.col("course_id").alias("canvas course id"),
        pl.col("course_sis").alias("sis course id"),
        pl.col("course_name").alias("course name"),
        pl.col("assignment_id").alias("assignment id"),
        pl.format("Essay {}: “why?”", pl.col("assignment_id") % 16).alias("assignment name"),
        local("submitted_at").alias("submission date"),
        local("graded_at").alias("graded date"),
        pl.col("score"),
        pl.col("points").alias("points possible"),
        pl.col("id").alias("submission id"),
        pl.col("state").alias("workflow state"),
        pl.col("excused"),
        pl.lit(False).alias("post to sis"),
        pl.col("section_id").alias("canvas section id"),
        pl.col("section_sis").alias("sis section id"),
        local("due_at").alias("due at"),
        local("graded_at").alias("posted at"),
        pl.lit("published").alias("assignment workflow state"),
        pl.lit(None, pl.String).alias("grading period id"),
    )


def grading_period_groups(u: University, q: ReportQuery) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "canvas_grading_period_group_id": [11, 12],
            "title": ["Quarters, ordinary", "“Halves”"],
            "weighted": [True, False],
            "display_totals_for_all_grading_periods": [False, True],
            "workflow_state": ["active", "active"],
        }
    )


def grading_periods(u: University, q: ReportQuery) -> pl.DataFrame:
    days = [EPOCH.strftime("%Y-%m-%dT%H:%M:%S-06:00"), None]
    return pl.DataFrame(
        {
            "canvas_grading_period_id": [21, 22, 23],
            "title": ["Q1", "Q2", "First half"],
            "weight": [25.0, 75.5, None],
            "start_date": [days[0], days[0], days[1]],
            "end_date": [days[0], days[0], days[1]],
            "close_date": [days[0], days[1], days[1]],
            "canvas_grading_period_group_id": [11, 11, 12],
            "workflow_state": ["active", "deleted", "active"],
        }
    )


def assignment_groups(u: University, q: ReportQuery) -> pl.DataFrame:
    return q.recent(courses_asked(u, q)).select(
        canvas_assignment_group_id=pl.col("id") + 300_000,
        canvas_course_id="id",
        name=pl.lit("Homework, weekly"),
        rules=pl.lit("drop_lowest:1\n"),
        position=pl.lit(1),
        group_weight=pl.lit(12.5),
        workflow_state=pl.lit("available"),
        created_at=pl.lit("2026-08-01T08:00:00-06:00"),
        updated_at=local("updated_at"),
    )


def assignment_overrides(u: University, q: ReportQuery) -> pl.DataFrame:
    """One override for the first section of every third course, one for two students of it."""
    rows = _tasks(u, q).filter((pl.col("course_id") % 3 == 0) & (pl.col("id") % 16 == 0))
    both = pl.concat([rows.with_columns(n=pl.lit(n)) for n in (0, 1)]).sort("id", "n")
    for_section = pl.col("n") == 0
    return q.recent(both).select(
        canvas_assignment_override_id=pl.col("id") * 2 + pl.col("n"),
        canvas_assignment_id="id",
        canvas_group_id=NOTHING,
        canvas_course_id="course_id",
        canvas_section_id=pl.when(for_section).then(pl.col("course_id") * 2),
        student_ids=pl.when(~for_section).then(pl.lit("{1002,1003}")),
        due_at=local("due_at"),
        all_day=pl.lit(False),
        all_day_date=NOTHING,
        unlock_at=NOTHING,
        lock_at=NOTHING,
        title=pl.when(for_section).then(pl.lit("Section 0")).otherwise(pl.lit("2 students")),
        workflow_state=pl.lit("active"),
    )


def scores(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = q.recent(in_term(u, q, students(u)))
    return rows.select(
        canvas_score_id=pl.col("id") + 700_000_000,
        canvas_enrollment_id="id",
        canvas_grading_period_id=NOTHING,
        canvas_assignment_group_id=NOTHING,
        course_score=pl.lit(True),
        current_score=(u.chance("id", "current", 1000).cast(pl.Float64) / 10).round(1),
        final_score=(u.chance("id", "final", 1000).cast(pl.Float64) / 10).round(1),
        unposted_current_score=NOTHING,
        unposted_final_score=NOTHING,
        override_score=NOTHING,
        workflow_state=pl.lit("active"),
    )


def _tasks(u: University, q: ReportQuery) -> pl.DataFrame:
    return u.assignments.join(
        courses_asked(u, q).select(course_id="id"), on="course_id", how="semi", maintain_order="left"
    )
