"""Rubrics and learning outcomes."""

from canvas_sync_dagster.catalogue.columns import BIGINT, BOOLEAN, NUMERIC, TEXT, TIMESTAMP, column
from canvas_sync_dagster.catalogue.domains import Domain
from canvas_sync_dagster.catalogue.model import Events, Model, ReportFeed, RestFeed

rubrics = Model(
    name="rubrics",
    domain=Domain.OUTCOMES,
    page="/accounts/{account_id}/rubrics",
    comment="Rubrics of accounts and courses.",
    feed=ReportFeed("rubrics_csv", assumed_header=True),
    columns=(
        column("canvas_id", BIGINT, report=("canvas_rubric_id", "rubric_id", "id"), comment="Canvas id of the rubric."),
        column(
            "canvas_user_id",
            BIGINT,
            report=("canvas_user_id", "user_id"),
            indexed=True,
            comment="Author; points to users.canvas_id.",
            user=True,
        ),
        column(
            "canvas_rubric_id",
            BIGINT,
            report=("canvas_parent_rubric_id", "parent_rubric_id"),
            indexed=True,
            comment="Rubric that this one was copied from; points to rubrics.canvas_id. Null otherwise.",
        ),
        column(
            "canvas_context_id",
            BIGINT,
            report=("canvas_context_id", "context_id"),
            indexed=True,
            comment="Canvas id of the account or course, by canvas_context_type.",
        ),
        column(
            "canvas_context_type", TEXT, report=("canvas_context_type", "context_type"), comment="Account or Course."
        ),
        column("data", TEXT, report="data", comment="Criteria with their ratings, as Canvas serializes them."),
        column("points_possible", NUMERIC, report="points_possible", comment="Maximum points over all criteria."),
        column("title", TEXT, report="title", comment="Title of the rubric."),
        column("description", TEXT, report="description", comment="Description of the rubric."),
        column(
            "reusable", BOOLEAN, report="reusable", comment="Whether the rubric can be used for several assignments."
        ),
        column("public", BOOLEAN, report="public", comment="Whether other courses can find the rubric."),
        column(
            "read_only",
            BOOLEAN,
            report="read_only",
            comment="Whether the rubric can no longer be changed, because it is in use.",
        ),
        column("association_count", BIGINT, report="association_count", comment="Number of uses of the rubric."),
        column(
            "free_form_criterion_comments",
            BOOLEAN,
            report="free_form_criterion_comments",
            comment="Whether graders write comments instead of choosing ratings.",
        ),
        column(
            "context_code", TEXT, report="context_code", comment="Context as Canvas spells it, such as course_2001."
        ),
        column(
            "migration_id",
            TEXT,
            report="migration_id",
            comment="Id in the import that brought the rubric; null otherwise.",
        ),
        column(
            "hide_score_total", BOOLEAN, report="hide_score_total", comment="Whether students do not see the total."
        ),
        column("workflow_state", TEXT, report="workflow_state", comment="active, draft, archived or deleted."),
        column(
            "canvas_root_account_id",
            BIGINT,
            report=("canvas_root_account_id", "root_account_id"),
            comment="Root account; points to accounts.canvas_id.",
        ),
        column("hide_points", BOOLEAN, report="hide_points", comment="Whether the rubric shows no points."),
        column("rating_order", TEXT, report="rating_order", comment="Order of the ratings: ascending or descending."),
        column(
            "button_display",
            TEXT,
            report="button_display",
            comment="How ratings are shown to graders, such as numeric or emoji.",
        ),
    ),
)

rubric_associations = Model(
    name="rubric_associations",
    domain=Domain.OUTCOMES,
    parents=("rubrics",),
    comment="Uses of rubrics: for an assignment, a course or an account.",
    feed=ReportFeed("rubric_associations_csv", assumed_header=True),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_rubric_association_id", "rubric_association_id", "id"),
            comment="Canvas id of the association.",
        ),
        column(
            "canvas_rubric_id",
            BIGINT,
            report=("canvas_rubric_id", "rubric_id"),
            indexed=True,
            comment="Rubric; points to rubrics.canvas_id.",
        ),
        column(
            "canvas_association_id",
            BIGINT,
            report=("canvas_association_id", "association_id"),
            indexed=True,
            comment="Canvas id of the object that uses the rubric, by canvas_association_type.",
        ),
        column(
            "canvas_association_type",
            TEXT,
            report=("canvas_association_type", "association_type"),
            comment="Assignment, Course or Account.",
        ),
        column(
            "use_for_grading",
            BOOLEAN,
            report="use_for_grading",
            comment="Whether the rubric's total becomes the grade.",
        ),
        column("title", TEXT, report="title", comment="Title of the use, such as the assignment's name."),
        column("description", TEXT, report="description", comment="Description of the use."),
        column(
            "summary_data", TEXT, report="summary_data", comment="Summary of past ratings, as Canvas serializes it."
        ),
        column("purpose", TEXT, report="purpose", comment="grading or bookmark."),
        column("url", TEXT, report="url", comment="Address of the object that uses the rubric."),
        column(
            "canvas_context_id",
            BIGINT,
            report=("canvas_context_id", "context_id"),
            indexed=True,
            comment="Canvas id of the account or course, by canvas_context_type.",
        ),
        column(
            "canvas_context_type", TEXT, report=("canvas_context_type", "context_type"), comment="Account or Course."
        ),
        column(
            "hide_score_total", BOOLEAN, report="hide_score_total", comment="Whether students do not see the total."
        ),
        column(
            "bookmarked",
            BOOLEAN,
            report="bookmarked",
            comment="Whether the rubric is listed among those of the context.",
        ),
        column(
            "context_code", TEXT, report="context_code", comment="Context as Canvas spells it, such as course_2001."
        ),
        column("hide_points", BOOLEAN, report="hide_points", comment="Whether the rubric shows no points here."),
        column(
            "hide_outcome_results",
            BOOLEAN,
            report="hide_outcome_results",
            comment="Whether results of outcomes are not reported.",
        ),
        column(
            "canvas_root_account_id",
            BIGINT,
            report=("canvas_root_account_id", "root_account_id"),
            comment="Root account; points to accounts.canvas_id.",
        ),
        column("workflow_state", TEXT, report="workflow_state", comment="active or deleted."),
    ),
)

rubric_assessments = Model(
    name="rubric_assessments",
    domain=Domain.OUTCOMES,
    parents=("rubric_associations", "users"),
    comment="Assessments made with a rubric.",
    feed=ReportFeed("rubric_assessments_csv", assumed_header=True),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_rubric_assessment_id", "rubric_assessment_id", "id"),
            comment="Canvas id of the assessment.",
        ),
        column(
            "canvas_user_id",
            BIGINT,
            report=("canvas_user_id", "user_id"),
            indexed=True,
            comment="Assessed user; points to users.canvas_id.",
            user=True,
        ),
        column(
            "canvas_rubric_id",
            BIGINT,
            report=("canvas_rubric_id", "rubric_id"),
            indexed=True,
            comment="Rubric; points to rubrics.canvas_id.",
        ),
        column(
            "canvas_rubric_association_id",
            BIGINT,
            report=("canvas_rubric_association_id", "rubric_association_id"),
            indexed=True,
            comment="Use of the rubric; points to rubric_associations.canvas_id.",
        ),
        column("score", NUMERIC, report="score", comment="Total score in points."),
        column(
            "data", TEXT, report="data", comment="Points and comments for each criterion, as Canvas serializes them."
        ),
        column(
            "canvas_artifact_id",
            BIGINT,
            report=("canvas_artifact_id", "artifact_id"),
            comment="Canvas id of the assessed object, by canvas_artifact_type.",
        ),
        column(
            "canvas_artifact_type",
            TEXT,
            report=("canvas_artifact_type", "artifact_type"),
            comment="Kind of assessed object, usually Submission.",
        ),
        column("assessment_type", TEXT, report="assessment_type", comment="grading, peer_review or provisional_grade."),
        column(
            "canvas_assessor_id",
            BIGINT,
            report=("canvas_assessor_id", "assessor_id"),
            comment="Assessor; points to users.canvas_id.",
            user=True,
        ),
        column(
            "artifact_attempt",
            BIGINT,
            report="artifact_attempt",
            comment="Attempt of the submission that was assessed, from 1.",
        ),
        column("hide_points", BOOLEAN, report="hide_points", comment="Whether no points are shown."),
        column(
            "canvas_root_account_id",
            BIGINT,
            report=("canvas_root_account_id", "root_account_id"),
            comment="Root account; points to accounts.canvas_id.",
        ),
    ),
)

learning_outcomes = Model(
    name="learning_outcomes",
    domain=Domain.OUTCOMES,
    page="/accounts/{account_id}/outcomes",
    parents=("accounts",),
    comment="Learning outcomes: all of accounts, and those of courses that live events named.",
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
        column("canvas_id", BIGINT, api="id", event="learning_outcome_id", comment="Canvas id of the outcome."),
        column(
            "canvas_context_id",
            BIGINT,
            api="context_id",
            event="context_id",
            indexed=True,
            comment="Canvas id of the account or course, by canvas_context_type.",
        ),
        column(
            "canvas_context_type",
            TEXT,
            api="context_type",
            event="context_type",
            comment="Account or Course; null for a global outcome.",
        ),
        column("title", TEXT, api="title", event="title", comment="Title of the outcome."),
        column("display_name", TEXT, api="display_name", event="display_name", comment="Name shown to students."),
        column("description", TEXT, api="description", comment="Description, as HTML."),
        column(
            "vendor_guid",
            TEXT,
            api="vendor_guid",
            event="vendor_guid",
            comment="Id that the source of the outcome gave it.",
        ),
        column("points_possible", NUMERIC, api="points_possible", comment="Maximum points."),
        column("mastery_points", NUMERIC, api="mastery_points", comment="Points that count as mastery."),
        column(
            "calculation_method",
            TEXT,
            api="calculation_method",
            event="calculation_method",
            comment="How results become a score: decaying_average, n_mastery, latest, highest, average …",
        ),
        column(
            "calculation_int",
            BIGINT,
            api="calculation_int",
            event="calculation_int",
            comment="Parameter of the calculation: a weight in percent, or a number of results.",
        ),
        column("workflow_state", TEXT, event="workflow_state", comment="active or deleted."),
    ),
)

learning_outcome_results = Model(
    name="learning_outcome_results",
    domain=Domain.OUTCOMES,
    parents=("courses", "learning_outcomes", "users"),
    comment="Results of students on learning outcomes, read course by course.",
    feed=RestFeed(
        "/courses/{parent}/outcome_results",
        per="courses",
        envelope="outcome_results",
        inject="canvas_course_id",
        holder="canvas_course_id",
        active_by=(("submissions", "canvas_course_id"), ("enrollments", "canvas_course_id")),
        # Results are of students.
        only_with=("enrollments", "canvas_course_id"),
    ),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    columns=(
        column("canvas_id", BIGINT, api="id", comment="Canvas id of the result."),
        column(
            "canvas_course_id",
            BIGINT,
            comment="Course whose results were read; points to courses.canvas_id.",
            indexed=True,
        ),
        column(
            "canvas_user_id",
            BIGINT,
            api="links.user",
            indexed=True,
            comment="Student; points to users.canvas_id.",
            user=True,
        ),
        column(
            "canvas_learning_outcome_id",
            BIGINT,
            api="links.learning_outcome",
            indexed=True,
            comment="Outcome; points to learning_outcomes.canvas_id.",
        ),
        column(
            "alignment",
            TEXT,
            api="links.alignment",
            comment="Assessed object as Canvas spells it, such as assignment_3001.",
        ),
        column("score", NUMERIC, api="score", comment="Score in points."),
        column("percent", NUMERIC, api="percent", comment="Score as a fraction of 1."),
        column("mastery", BOOLEAN, api="mastery", comment="Whether the score reaches mastery."),
        column(
            "submitted_or_assessed_at",
            TIMESTAMP,
            api="submitted_or_assessed_at",
            comment="When the work was submitted or, if later, assessed.",
        ),
    ),
)
