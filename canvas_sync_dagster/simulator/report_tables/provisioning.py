"""Tables of the provisioning reports: which rows Canvas lists, under which headers, in which format.

Written from Canvas's behaviour and not from the catalogue of canvas_sync_dagster, so that tests can compare the two.
"""

from __future__ import annotations

import polars as pl

from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery, courses_asked, in_account, local
from canvas_sync_dagster.simulator.university.state import University

ROLES = {
    "StudentEnrollment": ("student", 3),
    "TeacherEnrollment": ("teacher", 4),
    "TaEnrollment": ("ta", 5),
    "DesignerEnrollment": ("designer", 6),
    "ObserverEnrollment": ("observer", 7),
}


def users(u: University, q: ReportQuery) -> pl.DataFrame:
    """One row per login; users without one are absent, deleted logins appear only with a SIS id."""
    people = u.users.with_columns(
        pl.concat_str("first_name", "last_name", separator=" ").str.strip_chars().alias("full_name"),
        pl.when(pl.col("last_name") == "")
        .then("first_name")
        .otherwise(pl.format("{}, {}", "last_name", "first_name"))
        .alias("sortable"),
    )
    rows = _logins(u, q).join(people, left_on="user_id", right_on="id", maintain_order="left", suffix="_of_user")
    rows = q.recent(rows.with_columns(pl.max_horizontal("updated_at", "updated_at_of_user").alias("updated_at")))
    return rows.select(
        canvas_user_id="user_id",
        user_id="sis_id",
        integration_id=pl.lit(None, pl.String),
        authentication_provider_id=pl.lit(None, pl.String),
        login_id="unique_id",
        first_name="first_name",
        last_name=_or_null("last_name"),
        full_name="full_name",
        sortable_name="sortable",
        short_name="first_name",
        email=pl.when(pl.col("state") == "active").then(pl.format("u{}@uni.test", "user_id")),
        status="state",
        created_by_sis=pl.col("sis_id").is_not_null(),
    )


def pseudonyms(u: University, q: ReportQuery) -> pl.DataFrame:
    return (
        q.recent(_logins(u, q))
        .sort("id")
        .select(
            canvas_pseudonym_id="id",
            canvas_user_id="user_id",
            user_id="sis_id",
            unique_id="unique_id",
            integration_id=pl.lit(None, pl.String),
            authentication_provider_id=pl.lit(None, pl.String),
            status="state",
            created_by_sis=pl.col("sis_id").is_not_null(),
        )
    )


def _logins(u: University, q: ReportQuery) -> pl.DataFrame:
    shown = pl.col("sis_id").is_not_null() if q.deleted else pl.lit(False)
    rows = u.logins.filter((pl.col("state") != "deleted") | shown)
    if q.of_root:
        return rows
    here = u.sections.join(in_account(u, q, u.courses).select(course_id="id"), on="course_id", how="semi")
    people = u.enrollments.join(here.select(section_id="id"), on="section_id", how="semi")
    return rows.join(people, on="user_id", how="semi", maintain_order="left")


def accounts(u: University, q: ReportQuery) -> pl.DataFrame:
    """The root account is never listed; a sub-account lists only its direct children."""
    shown = pl.col("sis_id").is_not_null() if q.deleted else pl.lit(False)
    parents = u.accounts.select(parent_id="id", parent_sis="sis_id")
    below = pl.col("parent_id").is_not_null() if q.of_root else pl.col("parent_id") == q.account
    rows = u.accounts.filter(below & ((pl.col("state") != "deleted") | shown))
    return rows.join(parents, on="parent_id", how="left", maintain_order="left").select(
        canvas_account_id="id",
        account_id="sis_id",
        canvas_parent_id="parent_id",
        parent_account_id="parent_sis",
        name="name",
        status="state",
        created_by_sis=pl.col("sis_id").is_not_null(),
    )


def terms(u: University, q: ReportQuery) -> pl.DataFrame:
    shown = pl.col("sis_id").is_not_null() if q.deleted else pl.lit(False)
    return u.terms.filter((pl.col("state") != "deleted") | shown).select(
        canvas_term_id="id",
        term_id="sis_id",
        name="name",
        status="state",
        start_date=local("start_at"),
        end_date=local("end_at"),
        created_by_sis=pl.col("sis_id").is_not_null(),
    )


def courses(u: University, q: ReportQuery) -> pl.DataFrame:
    states = {"claimed": "unpublished", "created": "unpublished", "available": "active", "completed": "concluded"}
    rows = q.recent(courses_asked(u, q))
    rows = rows.join(
        u.accounts.select(account_id="id", account_sis="sis_id"), on="account_id", how="left", maintain_order="left"
    )
    rows = rows.join(u.terms.select(term_id="id", term_sis="sis_id"), on="term_id", how="left", maintain_order="left")
    return rows.select(
        canvas_course_id="id",
        course_id="sis_id",
        integration_id=pl.lit(None, pl.String),
        short_name="course_code",
        long_name="name",
        canvas_account_id="account_id",
        account_id="account_sis",
        canvas_term_id="term_id",
        term_id="term_sis",
        status=pl.col("state").replace(states),
        start_date=local("start_at"),
        end_date=local("end_at"),
        course_format=pl.lit(None, pl.String),
        canvas_blueprint_course_id=pl.lit(None, pl.String),
        blueprint_course_id=pl.lit(None, pl.String),
        created_by_sis=pl.col("sis_id").is_not_null(),
    )


def _sections(u: University, q: ReportQuery) -> pl.DataFrame:
    columns = {
        "course_id": "id",
        "course_sis": "sis_id",
        "course_state": "state",
        "course_account": "account_id",
        "course_term": "term_id",
    }
    rows = u.sections.join(in_account(u, q, u.courses).select(**columns), on="course_id", maintain_order="left")
    rows = rows if q.term is None else rows.filter(pl.col("course_term") == q.term)
    gone = (pl.col("state") == "deleted") | (pl.col("course_state") == "deleted")
    by_sis = pl.col("sis_id").is_not_null() & pl.col("course_sis").is_not_null()
    return rows.filter(~gone | by_sis if q.deleted else ~gone)


def sections(u: University, q: ReportQuery) -> pl.DataFrame:
    """Sections, each under its current course."""
    named = u.accounts.select(course_account="id", account_sis="sis_id")
    rows = q.recent(_sections(u, q)).join(named, on="course_account", how="left", maintain_order="left")
    return rows.select(
        canvas_section_id="id",
        section_id="sis_id",
        canvas_course_id="course_id",
        course_id="course_sis",
        integration_id=pl.lit(None, pl.String),
        name="name",
        status=pl.when(pl.col("course_state") == "deleted").then(pl.lit("deleted")).otherwise("state"),
        start_date=pl.lit(None, pl.String),
        end_date=pl.lit(None, pl.String),
        canvas_account_id="course_account",
        account_id="account_sis",
        created_by_sis=pl.col("sis_id").is_not_null(),
    )


def xlist(u: University, q: ReportQuery) -> pl.DataFrame:
    """Sections that are cross-listed now; those in concluded courses only with the deleted."""
    homes = u.courses.select(nonxlist_course_id="id", home_sis="sis_id")
    shown = pl.lit(True) if q.deleted else pl.col("course_state") != "completed"
    return (
        q.recent(_sections(u, q).filter(shown))
        .join(homes, on="nonxlist_course_id", maintain_order="left")
        .select(
            canvas_xlist_course_id="course_id",
            xlist_course_id="course_sis",
            canvas_section_id="id",
            section_id="sis_id",
            status="state",
            canvas_nonxlist_course_id="nonxlist_course_id",
            nonxlist_course_id="home_sis",
        )
    )


def enrollments(u: University, q: ReportQuery) -> pl.DataFrame:
    """Enrollments of users with a usable login; deleted ones only if a SIS import made them."""
    of_course = {"course_id": "id", "course_sis": "sis_id", "course_state": "state", "course_term": "term_id"}
    of_section = {"section_id": "id", "course_id": "course_id", "section_sis": "sis_id", "section_state": "state"}
    logins = (
        u.logins.filter(pl.col("state") != "deleted").group_by("user_id").agg(pl.col("sis_id").drop_nulls().first())
    )
    rows = u.enrollments.join(u.sections.select(**of_section), on="section_id", maintain_order="left")
    rows = rows.join(in_account(u, q, u.courses).select(**of_course), on="course_id", maintain_order="left")
    rows = rows.join(logins.rename({"sis_id": "user_sis"}), on="user_id", maintain_order="left")
    rows = rows.join(
        logins.select(associated_user_id="user_id", associated_sis="sis_id"),
        on="associated_user_id",
        how="left",
        maintain_order="left",
    )
    rows = rows if q.term is None else rows.filter(pl.col("course_term") == q.term)
    gone = (
        (pl.col("state") == "deleted") | (pl.col("section_state") == "deleted") | (pl.col("course_state") == "deleted")
    )
    shown = ~gone | pl.col("by_sis") if q.deleted else ~gone & (pl.col("state") != "completed")
    states = {"creation_pending": "invited", "completed": "concluded"}
    roles, numbers = ({kind: str(value[i]) for kind, value in ROLES.items()} for i in (0, 1))
    return (
        q.recent(rows.filter(shown))
        .sort("id")
        .select(
            canvas_course_id="course_id",
            course_id="course_sis",
            canvas_user_id="user_id",
            user_id="user_sis",
            role=pl.col("type").replace(roles),
            role_id=pl.col("type").replace(numbers),
            canvas_section_id="section_id",
            section_id="section_sis",
            status=pl.when(gone).then(pl.lit("deleted")).otherwise(pl.col("state").replace(states)),
            canvas_associated_user_id="associated_user_id",
            associated_user_id="associated_sis",
            created_by_sis="by_sis",
            base_role_type="type",
            limit_section_privileges=pl.lit(False),
            canvas_enrollment_id="id",
        )
    )


def _or_null(column: str) -> pl.Expr:
    return pl.when(pl.col(column) != "").then(pl.col(column))
