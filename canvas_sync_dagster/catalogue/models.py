"""The built-in models: what Canvas things there are, each declared once.

Headers of the provisioning report are those of Canvas's source. Those marked assumed belong to proprietary reports
whose documentation is not public.
"""

from __future__ import annotations

from types import MappingProxyType

from canvas_sync_dagster.catalogue.model import (
    Column,
    ColumnType,
    Enrichment,
    Model,
    ProvisioningFeed,
    ReportFeed,
    RestFeed,
)


def _column(
    kind: ColumnType, name: str, report: str | None, api: str | None, comment: str, *, indexed: bool = False
) -> Column:
    spellings = tuple(report.split("|")) if report else ()
    return Column(name, kind, spellings, api, comment, indexed)


def text(name: str, report: str | None = None, api: str | None = None, comment: str = "") -> Column:
    """Declares a text column."""
    return _column(ColumnType.TEXT, name, report, api, comment)


def bigint(
    name: str, report: str | None = None, api: str | None = None, comment: str = "", *, indexed: bool = False
) -> Column:
    """Declares an id or another whole number."""
    return _column(ColumnType.BIGINT, name, report, api, comment, indexed=indexed)


def time(name: str, report: str | None = None, api: str | None = None, comment: str = "") -> Column:
    """Declares a moment, with time zone."""
    return _column(ColumnType.TIMESTAMP, name, report, api, comment)


def numeric(name: str, report: str | None = None, api: str | None = None, comment: str = "") -> Column:
    """Declares a score or another exact number."""
    return _column(ColumnType.NUMERIC, name, report, api, comment)


def boolean(name: str, report: str | None = None, api: str | None = None, comment: str = "") -> Column:
    """Declares a truth value."""
    return _column(ColumnType.BOOLEAN, name, report, api, comment)


terms = Model(
    name="terms",
    comment="Enrollment terms of the root account.",
    feed=RestFeed("/accounts/{account_id}/terms", (("workflow_state[]", "all"),), envelope="enrollment_terms"),
    columns=(
        bigint("canvas_id", api="id", comment="Canvas id of the term."),
        text("name", api="name"),
        time("start_at", api="start_at"),
        time("end_at", api="end_at"),
        text("workflow_state", api="workflow_state", comment="active or deleted."),
        bigint("grading_period_group_id", api="grading_period_group_id"),
        text("sis_id", api="sis_term_id"),
    ),
)

accounts = Model(
    name="accounts",
    comment="Accounts, the root one included, which no report lists.",
    feed=RestFeed("/accounts/{account_id}/sub_accounts", (("recursive", "true"),), first="/accounts/{account_id}"),
    columns=(
        bigint("canvas_id", "canvas_account_id", "id", "Canvas id of the account."),
        text("sis_id", "account_id", "sis_account_id"),
        bigint("canvas_parent_account_id", "canvas_parent_id", "parent_account_id", indexed=True),
        text("sis_parent_account_id", "parent_account_id"),
        text("name", "name", "name"),
        text("workflow_state", "status", "workflow_state"),
    ),
)

users = Model(
    name="users",
    comment="People with a login. One row per person, however many logins; SIS ids stand on pseudonyms.",
    feed=ProvisioningFeed("users", prefer="user_id"),
    columns=(
        bigint("canvas_id", "canvas_user_id", "id", "Canvas id of the user."),
        text("email", "email", "email"),
        text("first_name", "first_name"),
        text("last_name", "last_name"),
        text(
            "workflow_state", "status", None, "State of the login that speaks for the user: active, deleted, suspended."
        ),
        text("login_id", "login_id", "login_id"),
        text("name", "full_name", "name"),
        text("sortable_name", "sortable_name", "sortable_name"),
    ),
)

pseudonyms = Model(
    name="pseudonyms",
    parents=("users",),
    comment="Logins; a user may have several.",
    feed=ProvisioningFeed("pseudonyms", stock=False),
    columns=(
        bigint("canvas_id", "canvas_pseudonym_id", "id", "Canvas id of the login."),
        bigint("canvas_user_id", "canvas_user_id", "user_id", indexed=True),
        text("sis_id", "user_id", "sis_user_id"),
        text("unique_id", "unique_id|login_id", "unique_id"),
        text("workflow_state", "status", "workflow_state"),
    ),
)

courses = Model(
    name="courses",
    parents=(
        "terms",
        "accounts",
    ),
    comment="Courses of a term.",
    feed=ProvisioningFeed("courses"),
    term_scoped=True,
    columns=(
        bigint("canvas_id", "canvas_course_id", "id", "Canvas id of the course."),
        text("sis_id", "course_id", "sis_course_id"),
        text("course_code", "short_name", "course_code"),
        text("name", "long_name", "name"),
        text("workflow_state", "status", None, "unpublished, active, concluded or deleted, as reports spell it."),
        bigint("canvas_account_id", "canvas_account_id", "account_id", indexed=True),
        bigint("canvas_term_id", "canvas_term_id", "enrollment_term_id", indexed=True),
        time("start_at", "start_date", "start_at"),
        time("end_at", "end_date", "end_at"),
        bigint("grading_standard_id", "grading_standard_id", "grading_standard_id"),
    ),
)

sections = Model(
    name="sections",
    parents=("courses",),
    comment="Sections of courses.",
    feed=ProvisioningFeed(
        "sections",
        enrichments=(
            Enrichment(
                "xlist",
                key="canvas_section_id",
                columns=MappingProxyType({"canvas_nonxlist_course_id": "canvas_nonxlist_course_id"}),
            ),
        ),
    ),
    term_scoped=True,
    columns=(
        bigint("canvas_id", "canvas_section_id", "id", "Canvas id of the section."),
        text("sis_id", "section_id", "sis_section_id"),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        bigint(
            "canvas_nonxlist_course_id",
            None,
            "nonxlist_course_id",
            "Course that a cross-listed section was made in; null when it is not cross-listed.",
        ),
        text("name", "name", "name"),
        text("workflow_state", "status"),
        time("start_at", "start_date", "start_at"),
        time("end_at", "end_date", "end_at"),
    ),
)

enrollments = Model(
    name="enrollments",
    parents=(
        "sections",
        "users",
    ),
    comment="Who takes part in which section, as what.",
    feed=ProvisioningFeed("enrollments"),
    term_scoped=True,
    columns=(
        bigint("canvas_id", "canvas_enrollment_id", "id", "Canvas id of the enrollment."),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        text("course_sis_id", "course_id", "sis_course_id"),
        bigint("canvas_user_id", "canvas_user_id", "user_id", indexed=True),
        text("user_sis_id", "user_id", "sis_user_id"),
        text("role", "role", "role"),
        bigint("canvas_role_id", "role_id", "role_id"),
        bigint("canvas_section_id", "canvas_section_id", "course_section_id"),
        text("workflow_state", "status", "enrollment_state"),
        text("base_role_type", "base_role_type", "type"),
    ),
)

assignments = Model(
    name="assignments",
    parents=(
        "terms",
        "courses",
    ),
    comment="Assignments of courses.",
    feed=ReportFeed("proserv_assignment_export_csv", assumed_header=True),
    term_scoped=True,
    columns=(
        bigint("canvas_id", "canvas_assignment_id|assignment_id", "id", "Canvas id of the assignment."),
        text("title", "title|assignment_name", "name"),
        text("description", "description", "description"),
        time("due_at", "due_at", "due_at"),
        time("unlock_at", "unlock_at", "unlock_at"),
        time("lock_at", "lock_at", "lock_at"),
        numeric("points_possible", "points_possible", "points_possible"),
        numeric("min_score", "min_score"),
        numeric("max_score", "max_score"),
        numeric("mastery_score", "mastery_score"),
        text("grading_type", "grading_type", "grading_type"),
        text("submission_types", "submission_types"),
        text("workflow_state", "workflow_state", "workflow_state"),
        bigint("canvas_context_id", "canvas_context_id|canvas_course_id", "course_id", indexed=True),
        text("canvas_context_type", "canvas_context_type"),
        bigint("canvas_assignment_group_id", "canvas_assignment_group_id", "assignment_group_id"),
        bigint("canvas_grading_scheme_id", "canvas_grading_scheme_id"),
        bigint("canvas_grading_standard_id", "canvas_grading_standard_id", "grading_standard_id"),
    ),
)

submissions = Model(
    name="submissions",
    parents=(
        "terms",
        "assignments",
        "users",
    ),
    comment="What students handed in, and its score.",
    feed=ReportFeed("proserv_student_submissions_csv", MappingProxyType({"include_all": "true"}), assumed_header=True),
    term_scoped=True,
    columns=(
        bigint("canvas_id", "submission_id|canvas_submission_id", "id", "Canvas id of the submission."),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        bigint("canvas_assignment_id", "assignment_id|canvas_assignment_id", "assignment_id", indexed=True),
        bigint("canvas_user_id", "canvas_user_id", "user_id", indexed=True),
        time("submitted_at", "submission_date|submitted_at", "submitted_at"),
        time("due_at", "due_at", "cached_due_date"),
        time("graded_at", "graded_date|graded_at", "graded_at"),
        numeric("score", "score", "score"),
        numeric("points_possible", "points_possible"),
        boolean("excused", "excused", "excused"),
        text("workflow_state", "workflow_state", "workflow_state"),
    ),
)

BUILT_IN: tuple[Model, ...] = (
    terms,
    accounts,
    users,
    pseudonyms,
    courses,
    sections,
    enrollments,
    assignments,
    submissions,
)
"""All models, parents before children; loads of one report follow this order."""
