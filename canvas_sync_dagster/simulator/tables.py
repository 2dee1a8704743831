"""What Canvas's reports say of a university: which rows, under which headers, in which spelling.

Written from Canvas's behaviour, not from the catalogue of this package: it is an independent witness. The headers of
the proprietary reports are assumed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from canvas_sync_dagster.simulator.university import ROOT_ACCOUNT, University

ZONE = "America/Denver"
"""Time zone of the root account; reports write times in it, across its summer time."""

ROLES = {
    "StudentEnrollment": ("student", 3),
    "TeacherEnrollment": ("teacher", 4),
    "TaEnrollment": ("ta", 5),
    "DesignerEnrollment": ("designer", 6),
    "ObserverEnrollment": ("observer", 7),
}


class Question:
    """What was asked of a report.

    Args:
        term: Canvas term id, or None.
        deleted: Whether `include_deleted` was asked for.
        updated_after: Only what changed since; stock reports know nothing of it.
        account: The account that is asked; tells of itself and all below it.
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


def users(u: University, q: Question) -> pl.DataFrame:
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


def pseudonyms(u: University, q: Question) -> pl.DataFrame:
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


def _logins(u: University, q: Question) -> pl.DataFrame:
    shown = pl.col("sis_id").is_not_null() if q.deleted else pl.lit(False)
    rows = u.logins.filter((pl.col("state") != "deleted") | shown)
    if q.of_root:
        return rows
    here = u.sections.join(_in_account(u, q, u.courses).select(course_id="id"), on="course_id", how="semi")
    people = u.enrollments.join(here.select(section_id="id"), on="section_id", how="semi")
    return rows.join(people, on="user_id", how="semi", maintain_order="left")


def _in_account(u: University, q: Question, courses: pl.DataFrame) -> pl.DataFrame:
    return courses if q.of_root else courses.filter(pl.col("account_id").is_in(u.subtree(q.account)))


def accounts(u: University, q: Question) -> pl.DataFrame:
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


def terms(u: University, q: Question) -> pl.DataFrame:
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


def courses_asked(u: University, q: Question) -> pl.DataFrame:
    rows = _in_account(u, q, u.courses)
    rows = rows if q.term is None else rows.filter(pl.col("term_id") == q.term)
    live = ~pl.col("state").is_in(["deleted", "completed"])
    young = pl.col("updated_at") > u.now - timedelta(days=120)
    kept = (pl.col("state") != "deleted") | pl.col("sis_id").is_not_null() | young
    return rows.filter(kept if q.deleted else live)


def courses(u: University, q: Question) -> pl.DataFrame:
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


def _sections(u: University, q: Question) -> pl.DataFrame:
    columns = {
        "course_id": "id",
        "course_sis": "sis_id",
        "course_state": "state",
        "course_account": "account_id",
        "course_term": "term_id",
    }
    rows = u.sections.join(_in_account(u, q, u.courses).select(**columns), on="course_id", maintain_order="left")
    rows = rows if q.term is None else rows.filter(pl.col("course_term") == q.term)
    gone = (pl.col("state") == "deleted") | (pl.col("course_state") == "deleted")
    by_sis = pl.col("sis_id").is_not_null() & pl.col("course_sis").is_not_null()
    return rows.filter(~gone | by_sis if q.deleted else ~gone)


def sections(u: University, q: Question) -> pl.DataFrame:
    """Lists each section under the course that it is in now."""
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


def xlist(u: University, q: Question) -> pl.DataFrame:
    """Lists the sections that are cross-listed now; those in concluded courses only with the deleted."""
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


def enrollments(u: University, q: Question) -> pl.DataFrame:
    """Skips whoever has no usable login; the deleted only if they were made by a SIS import."""
    of_course = {"course_id": "id", "course_sis": "sis_id", "course_state": "state", "course_term": "term_id"}
    of_section = {"section_id": "id", "course_id": "course_id", "section_sis": "sis_id", "section_state": "state"}
    logins = (
        u.logins.filter(pl.col("state") != "deleted").group_by("user_id").agg(pl.col("sis_id").drop_nulls().first())
    )
    rows = u.enrollments.join(u.sections.select(**of_section), on="section_id", maintain_order="left")
    rows = rows.join(_in_account(u, q, u.courses).select(**of_course), on="course_id", maintain_order="left")
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


def assignments(u: University, q: Question) -> pl.DataFrame:
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


def submissions(u: University, q: Question) -> pl.DataFrame:
    """One row per student and assignment, handed in or not."""
    courses_ = _in_account(u, q, u.courses).select(course_id="id", course_sis="sis_id", course_name="name")
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


def in_term(u: University, q: Question, rows: pl.DataFrame) -> pl.DataFrame:
    """Keeps the rows whose `course_id` is of the term that was asked for."""
    if q.term is None:
        return rows
    homes = u.courses.filter(pl.col("term_id") == q.term).select(course_id="id")
    return rows.join(homes, on="course_id", how="semi", maintain_order="left")


def local(column: str) -> pl.Expr:
    """Writes a time as reports do: ISO 8601 with seconds, in the root account's zone."""
    return pl.col(column).dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%dT%H:%M:%S%:z")


def _or_null(column: str) -> pl.Expr:
    return pl.when(pl.col(column) != "").then(pl.col(column))
