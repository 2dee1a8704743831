"""What students are asked to do, what they did, and what they got for it."""

from types import MappingProxyType

from canvas_sync_dagster.catalogue.columns import bigint, bigints, boolean, numeric, text, time
from canvas_sync_dagster.catalogue.model import Events, Model, ReportFeed, Suffices

assignment_groups = Model(
    name="assignment_groups",
    parents=("terms", "courses"),
    comment="Groups of assignments, and how they weigh.",
    feed=ReportFeed("proserv_assignment_group_export_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    single="/courses/{canvas_course_id}/assignment_groups/{canvas_id}",
    events=Events(("assignment_group_created", "assignment_group_updated"), Suffices.FOR_KNOWN_ROWS),
    columns=(
        bigint(
            "canvas_id",
            "canvas_assignment_group_id|assignment_group_id",
            "id",
            "assignment_group_id",
            comment="Canvas id of the group.",
        ),
        bigint("canvas_course_id", "canvas_course_id|course_id", None, "context_id", indexed=True),
        text("name", "name", "name", "name"),
        text("rules", "rules", None, "rules"),
        bigint("position", "position", "position", "position"),
        numeric("group_weight", "group_weight", "group_weight", "group_weight"),
        text("workflow_state", "workflow_state|status", None, "workflow_state"),
        time("canvas_created_at", "created_at|canvas_created_at"),
        time("canvas_updated_at", "updated_at|canvas_updated_at"),
    ),
)

assignments = Model(
    name="assignments",
    parents=("terms", "courses"),
    comment="Assignments of courses.",
    feed=ReportFeed("proserv_assignment_export_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_context_id", "courses"),
    single="/courses/{canvas_context_id}/assignments/{canvas_id}",
    events=Events(("assignment_created", "assignment_updated")),
    columns=(
        bigint(
            "canvas_id",
            "canvas_assignment_id|assignment_id",
            "id",
            "assignment_id",
            comment="Canvas id of the assignment.",
        ),
        text("title", "title|assignment_name", "name", "title"),
        text("description", "description", "description"),
        time("due_at", "due_at", "due_at", "due_at"),
        time("unlock_at", "unlock_at", "unlock_at", "unlock_at"),
        time("lock_at", "lock_at", "lock_at", "lock_at"),
        numeric("points_possible", "points_possible", "points_possible", "points_possible"),
        numeric("min_score", "min_score"),
        numeric("max_score", "max_score"),
        numeric("mastery_score", "mastery_score"),
        text("grading_type", "grading_type", "grading_type"),
        text("submission_types", "submission_types", None, "submission_types"),
        text("workflow_state", "workflow_state", "workflow_state", "workflow_state"),
        bigint("canvas_context_id", "canvas_context_id|canvas_course_id", "course_id", "context_id", indexed=True),
        text("canvas_context_type", "canvas_context_type", None, "context_type"),
        bigint(
            "canvas_assignment_group_id", "canvas_assignment_group_id", "assignment_group_id", "assignment_group_id"
        ),
        bigint("canvas_grading_scheme_id", "canvas_grading_scheme_id"),
        bigint("canvas_grading_standard_id", "canvas_grading_standard_id", "grading_standard_id"),
    ),
)

assignment_overrides = Model(
    name="assignment_overrides",
    parents=("terms", "assignments"),
    comment="Other dates of an assignment, for sections, groups or students.",
    feed=ReportFeed("proserv_assignment_overrides_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_assignment_id", "assignments"),
    single="/courses/{canvas_course_id}/assignments/{canvas_assignment_id}/overrides/{canvas_id}",
    events=Events(("assignment_override_created", "assignment_override_updated")),
    columns=(
        bigint(
            "canvas_id",
            "canvas_assignment_override_id|assignment_override_id",
            "id",
            "assignment_override_id",
            comment="Canvas id of the override.",
        ),
        bigint(
            "canvas_assignment_id", "canvas_assignment_id|assignment_id", "assignment_id", "assignment_id", indexed=True
        ),
        bigint("canvas_group_id", "canvas_group_id", "group_id", "group_id"),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        bigint("canvas_section_id", "canvas_section_id", "course_section_id", "course_section_id"),
        bigints("student_ids", "student_ids", "student_ids"),
        time("due_at", "due_at", "due_at", "due_at"),
        boolean("all_day", "all_day", "all_day", "all_day"),
        time("all_day_date", "all_day_date", "all_day_date", "all_day_date"),
        time("unlock_at", "unlock_at", "unlock_at", "unlock_at"),
        time("lock_at", "lock_at", "lock_at", "lock_at"),
        text("title", "title", "title"),
        text("workflow_state", "workflow_state", None, "workflow_state"),
    ),
)

submissions = Model(
    name="submissions",
    parents=("terms", "assignments", "users"),
    comment="What students handed in, and its score.",
    feed=ReportFeed(
        "proserv_student_submissions_csv",
        MappingProxyType({"include_all": "true"}),
        assumed_header=True,
        beside=(
            "sis_user_id",
            "user_name",
            "sis_course_id",
            "course_name",
            "assignment_name",
            "post_to_sis",
            "canvas_section_id",
            "sis_section_id",
            "posted_at",
            "assignment_workflow_state",
            "grading_period_id",
        ),
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    single="/courses/{canvas_course_id}/assignments/{canvas_assignment_id}/submissions/{canvas_user_id}",
    events=Events(("submission_created", "submission_updated", "grade_change")),
    columns=(
        bigint(
            "canvas_id",
            "submission_id|canvas_submission_id",
            "id",
            "submission_id",
            comment="Canvas id of the submission.",
        ),
        bigint("canvas_course_id", "canvas_course_id", "course_id", indexed=True),
        bigint(
            "canvas_assignment_id", "assignment_id|canvas_assignment_id", "assignment_id", "assignment_id", indexed=True
        ),
        bigint("canvas_user_id", "canvas_user_id", "user_id", "user_id", indexed=True),
        time("submitted_at", "submission_date|submitted_at", "submitted_at", "submitted_at"),
        time("due_at", "due_at", "cached_due_date"),
        time("graded_at", "graded_date|graded_at", "graded_at", "graded_at"),
        numeric("score", "score", "score", "score"),
        numeric("points_possible", "points_possible"),
        boolean("excused", "excused", "excused"),
        text("workflow_state", "workflow_state", "workflow_state", "workflow_state"),
    ),
)

scores = Model(
    name="scores",
    parents=("terms", "enrollments"),
    comment="Grades of enrollments in courses, grading periods and assignment groups.",
    feed=ReportFeed("proserv_scores_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_enrollment_id", "enrollments"),
    columns=(
        bigint("canvas_id", "canvas_score_id|score_id", comment="Canvas id of the score."),
        bigint("canvas_enrollment_id", "canvas_enrollment_id|enrollment_id", indexed=True),
        bigint("canvas_grading_period_id", "canvas_grading_period_id|grading_period_id"),
        bigint("canvas_assignment_group_id", "canvas_assignment_group_id|assignment_group_id"),
        boolean("course_score", "course_score"),
        numeric("current_score", "current_score"),
        numeric("final_score", "final_score"),
        numeric("unposted_current_score", "unposted_current_score"),
        numeric("unposted_final_score", "unposted_final_score"),
        numeric("override_score", "override_score"),
        text("workflow_state", "workflow_state"),
    ),
)
