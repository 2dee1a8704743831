"""Report tables of rubrics; their headers are assumed."""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery, students
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

NOTHING = pl.lit(None, pl.String)


def rubrics(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = u.courses.filter(pl.col("id") % 6 == 0)
    truths = dict.fromkeys(
        ("reusable", "public", "read_only", "free_form_criterion_comments", "hide_score_total", "hide_points"),
        pl.lit(False),
    )
    return q.recent(rows).select(
        canvas_rubric_id=pl.col("id") + 50_000,
        canvas_user_id=pl.lit(1002),
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        data=pl.lit('---\n- :description: "Clarity, mostly"\n  :points: 5.0\n'),
        points_possible=pl.lit(5.0),
        title=pl.format("Rubric of {}", "course_code"),
        description=NOTHING,
        association_count=pl.lit(1),
        context_code=pl.format("course_{}", "id"),
        migration_id=NOTHING,
        workflow_state=pl.lit("active"),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
        rating_order=pl.lit("descending"),
        button_display=pl.lit("numeric"),
        **truths,
    )


def rubric_associations(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = u.courses.filter(pl.col("id") % 6 == 0)
    return q.recent(rows).select(
        canvas_rubric_association_id=pl.col("id") + 55_000,
        canvas_rubric_id=pl.col("id") + 50_000,
        canvas_association_id=pl.col("id") * 16,
        canvas_association_type=pl.lit("Assignment"),
        use_for_grading=pl.lit(True),
        title=pl.format("Essay 0 in {}", "course_code"),
        description=NOTHING,
        summary_data=NOTHING,
        purpose=pl.lit("grading"),
        url=NOTHING,
        canvas_context_id="id",
        canvas_context_type=pl.lit("Course"),
        hide_score_total=pl.lit(False),
        bookmarked=pl.lit(True),
        context_code=pl.format("course_{}", "id"),
        hide_points=pl.lit(False),
        hide_outcome_results=pl.lit(False),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
        workflow_state=pl.lit("active"),
    )


def rubric_assessments(u: University, q: ReportQuery) -> pl.DataFrame:
    rows = students(u).filter(pl.col("course_id") % 6 == 0).unique(
        ["course_id", "user_id"], keep="first", maintain_order=True
    )  # fmt: skip
    return q.recent(rows).select(
        canvas_rubric_assessment_id=pl.col("id") + 800_000_000,
        canvas_user_id="user_id",
        canvas_rubric_id=pl.col("course_id") + 50_000,
        canvas_rubric_association_id=pl.col("course_id") + 55_000,
        score=u.chance("id", "rubric", 11).cast(pl.Float64) / 2,
        data=pl.lit('---\n- :points: 2.5\n  :comments: "fine"\n'),
        canvas_artifact_id="id",
        canvas_artifact_type=pl.lit("Submission"),
        assessment_type=pl.lit("grading"),
        canvas_assessor_id=pl.lit(1002),
        artifact_attempt=pl.lit(1),
        hide_points=pl.lit(False),
        canvas_root_account_id=pl.lit(ROOT_ACCOUNT),
    )
