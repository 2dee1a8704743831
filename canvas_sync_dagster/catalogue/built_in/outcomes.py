"""Rubrics and learning outcomes."""

from canvas_sync_dagster.catalogue.columns import bigint, boolean, numeric, text, time
from canvas_sync_dagster.catalogue.model import Events, Model, ReportFeed, RestFeed

rubrics = Model(
    name="rubrics",
    comment="Rubrics.",
    feed=ReportFeed("rubrics_csv", assumed_header=True),
    columns=(
        bigint("canvas_id", "canvas_rubric_id|rubric_id|id", comment="Canvas id of the rubric."),
        bigint("canvas_user_id", "canvas_user_id|user_id", indexed=True),
        bigint("canvas_rubric_id", "canvas_parent_rubric_id|parent_rubric_id", indexed=True),
        bigint("canvas_context_id", "canvas_context_id|context_id", indexed=True),
        text("canvas_context_type", "canvas_context_type|context_type"),
        text("data", "data"),
        numeric("points_possible", "points_possible"),
        text("title", "title"),
        text("description", "description"),
        boolean("reusable", "reusable"),
        boolean("public", "public"),
        boolean("read_only", "read_only"),
        bigint("association_count", "association_count"),
        boolean("free_form_criterion_comments", "free_form_criterion_comments"),
        text("context_code", "context_code"),
        text("migration_id", "migration_id"),
        boolean("hide_score_total", "hide_score_total"),
        text("workflow_state", "workflow_state"),
        bigint("canvas_root_account_id", "canvas_root_account_id|root_account_id"),
        boolean("hide_points", "hide_points"),
        text("rating_order", "rating_order"),
        text("button_display", "button_display"),
    ),
)

rubric_associations = Model(
    name="rubric_associations",
    parents=("rubrics",),
    comment="Which rubric is used for what.",
    feed=ReportFeed("rubric_associations_csv", assumed_header=True),
    columns=(
        bigint(
            "canvas_id",
            "canvas_rubric_association_id|rubric_association_id|id",
            comment="Canvas id of the association.",
        ),
        bigint("canvas_rubric_id", "canvas_rubric_id|rubric_id", indexed=True),
        bigint("canvas_association_id", "canvas_association_id|association_id", indexed=True),
        text("canvas_association_type", "canvas_association_type|association_type"),
        boolean("use_for_grading", "use_for_grading"),
        text("title", "title"),
        text("description", "description"),
        text("summary_data", "summary_data"),
        text("purpose", "purpose"),
        text("url", "url"),
        bigint("canvas_context_id", "canvas_context_id|context_id", indexed=True),
        text("canvas_context_type", "canvas_context_type|context_type"),
        boolean("hide_score_total", "hide_score_total"),
        boolean("bookmarked", "bookmarked"),
        text("context_code", "context_code"),
        boolean("hide_points", "hide_points"),
        boolean("hide_outcome_results", "hide_outcome_results"),
        bigint("canvas_root_account_id", "canvas_root_account_id|root_account_id"),
        text("workflow_state", "workflow_state"),
    ),
)

rubric_assessments = Model(
    name="rubric_assessments",
    parents=("rubric_associations", "users"),
    comment="What rubrics were filled in with.",
    feed=ReportFeed("rubric_assessments_csv", assumed_header=True),
    columns=(
        bigint(
            "canvas_id", "canvas_rubric_assessment_id|rubric_assessment_id|id", comment="Canvas id of the assessment."
        ),
        bigint("canvas_user_id", "canvas_user_id|user_id", indexed=True),
        bigint("canvas_rubric_id", "canvas_rubric_id|rubric_id", indexed=True),
        bigint("canvas_rubric_association_id", "canvas_rubric_association_id|rubric_association_id", indexed=True),
        numeric("score", "score"),
        text("data", "data"),
        bigint("canvas_artifact_id", "canvas_artifact_id|artifact_id"),
        text("canvas_artifact_type", "canvas_artifact_type|artifact_type"),
        text("assessment_type", "assessment_type"),
        bigint("canvas_assessor_id", "canvas_assessor_id|assessor_id"),
        bigint("artifact_attempt", "artifact_attempt"),
        boolean("hide_points", "hide_points"),
        bigint("canvas_root_account_id", "canvas_root_account_id|root_account_id"),
    ),
)

learning_outcomes = Model(
    name="learning_outcomes",
    parents=("accounts",),
    comment="Learning outcomes: all of accounts, and those of courses that events spoke of.",
    feed=RestFeed(
        "/accounts/{parent}/outcome_group_links",
        (("outcome_style", "full"),),
        per="accounts",
        item="outcome",
        holder="canvas_context_id",
        # Outcomes of courses are known from events only.
        among=("canvas_context_type", "Account"),
    ),
    single="/outcomes/{canvas_id}",
    events=Events(("learning_outcome_created", "learning_outcome_updated")),
    columns=(
        bigint("canvas_id", api="id", event="learning_outcome_id", comment="Canvas id of the outcome."),
        bigint("canvas_context_id", api="context_id", event="context_id", indexed=True),
        text("canvas_context_type", api="context_type", event="context_type"),
        text("title", api="title", event="title"),
        text("display_name", api="display_name", event="display_name"),
        text("description", api="description"),
        text("vendor_guid", api="vendor_guid", event="vendor_guid"),
        numeric("points_possible", api="points_possible"),
        numeric("mastery_points", api="mastery_points"),
        text("calculation_method", api="calculation_method", event="calculation_method"),
        bigint("calculation_int", api="calculation_int", event="calculation_int"),
        text("workflow_state", event="workflow_state"),
    ),
)

learning_outcome_results = Model(
    name="learning_outcome_results",
    parents=("courses", "learning_outcomes", "users"),
    comment="How students did on outcomes, course by course.",
    feed=RestFeed(
        "/courses/{parent}/outcome_results",
        per="courses",
        envelope="outcome_results",
        inject="canvas_course_id",
        holder="canvas_course_id",
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    columns=(
        bigint("canvas_id", api="id", comment="Canvas id of the result."),
        bigint("canvas_course_id", comment="Course that Canvas was asked about.", indexed=True),
        bigint("canvas_user_id", api="links.user", indexed=True),
        bigint("canvas_learning_outcome_id", api="links.learning_outcome", indexed=True),
        text("alignment", api="links.alignment"),
        numeric("score", api="score"),
        numeric("percent", api="percent"),
        boolean("mastery", api="mastery"),
        time("submitted_or_assessed_at", api="submitted_or_assessed_at"),
    ),
)
