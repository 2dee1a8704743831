"""Report tables of groups and of observers, which follow from the people and courses of a university."""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery, students
from canvas_sync_dagster.simulator.university.state import University

NOTHING = pl.lit(None, pl.String)


def group_categories(u: University, q: ReportQuery) -> pl.DataFrame:
    """One set of groups in every fourth course; Canvas's report of them knows no `created_by_sis`."""
    return _courses_with_groups(u).select(
        canvas_group_category_id=pl.col("id") + 60_000,
        group_category_id=NOTHING,
        context_id="id",
        context_type=pl.lit("Course"),
        name=pl.format("Projects, {}", "course_code"),
        role=NOTHING,
        self_signup=NOTHING,
        group_limit=pl.lit(4),
        auto_leader=NOTHING,
        status=pl.lit("active"),
    )


def groups(u: University, q: ReportQuery) -> pl.DataFrame:
    """Two groups per set."""
    homes = _courses_with_groups(u)
    both = pl.concat([homes.with_columns(n=pl.lit(n)) for n in (0, 1)]).sort("id", "n")
    return both.select(
        canvas_group_id=pl.col("id") * 4 + pl.col("n"),
        group_id=pl.when(pl.col("sis_id").is_not_null()).then(pl.format("GRP-{}-{}", "id", "n")),
        canvas_group_category_id=pl.col("id") + 60_000,
        group_category_id=NOTHING,
        canvas_account_id=NOTHING,
        account_id=NOTHING,
        canvas_course_id="id",
        course_id="sis_id",
        name=pl.format("Team “{}”", "n"),
        status=pl.lit("available"),
        created_by_sis=pl.col("sis_id").is_not_null(),
        context_id="id",
        context_type=pl.lit("Course"),
        max_membership=pl.lit(4),
    )


def memberships(u: University) -> pl.DataFrame:
    """Every student of a course with groups is in one of its groups."""
    homes = _courses_with_groups(u).select(course_id="id", course_sis="sis_id")
    people = students(u).join(homes, on="course_id").unique(["course_id", "user_id"], keep="first", maintain_order=True)
    logins = _sis_ids(u)
    return (
        people.join(logins, on="user_id", how="left", maintain_order="left")
        .with_columns(n=pl.col("user_id") % 2)
        .select(
            id=pl.col("id") + 900_000_000,
            group_id=pl.col("course_id") * 4 + pl.col("n"),
            group_sis=pl.when(pl.col("course_sis").is_not_null()).then(pl.format("GRP-{}-{}", "course_id", "n")),
            user_id="user_id",
            user_sis="user_sis",
            state=pl.lit("accepted"),
        )
        .sort("id")
    )


def group_membership(u: University, q: ReportQuery) -> pl.DataFrame:
    """Memberships as in the stock report, which has no id of a membership."""
    return memberships(u).select(
        canvas_group_id="group_id",
        group_id="group_sis",
        canvas_user_id="user_id",
        user_id="user_sis",
        status="state",
        created_by_sis=pl.col("group_sis").is_not_null(),
    )


def group_membership_with_ids(u: University, q: ReportQuery) -> pl.DataFrame:
    """Memberships as in the proprietary report, which has their ids."""
    ids = memberships(u).select(canvas_group_membership_id="id")
    return pl.concat([ids, group_membership(u, q)], how="horizontal")


def user_observers(u: University, q: ReportQuery) -> pl.DataFrame:
    """Every login of an observer with every login of the observed user, so that pairs repeat."""
    live = u.logins.filter(pl.col("state") == "active").select("user_id", "sis_id")
    pairs = u.enrollments.filter(pl.col("associated_user_id").is_not_null() & (pl.col("state") != "deleted"))
    both = pairs.select("user_id", "associated_user_id").unique(maintain_order=True)
    return (
        both.join(live, on="user_id")
        .join(live.rename({"sis_id": "student_sis"}), left_on="associated_user_id", right_on="user_id")
        .sort("user_id", "associated_user_id", "sis_id", "student_sis")
        .select(
            canvas_observer_id="user_id",
            observer_id="sis_id",
            canvas_student_id="associated_user_id",
            student_id="student_sis",
            status=pl.lit("active"),
            created_by_sis=pl.lit(False),
        )
    )


def _courses_with_groups(u: University) -> pl.DataFrame:
    return u.courses.filter((pl.col("id") % 4 == 0) & (pl.col("state") != "deleted"))


def _sis_ids(u: University) -> pl.DataFrame:
    live = u.logins.filter(pl.col("state") != "deleted")
    return live.group_by("user_id").agg(pl.col("sis_id").drop_nulls().first().alias("user_sis"))
