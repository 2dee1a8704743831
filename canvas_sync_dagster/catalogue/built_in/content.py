"""What courses hold, where it came from, and how far students are in it."""

from canvas_sync_dagster.catalogue.columns import BIGINT, NUMERIC, TEXT, TIMESTAMP, column
from canvas_sync_dagster.catalogue.model import Events, Model, ReportFeed

context_modules = Model(
    name="context_modules",
    parents=("terms", "courses"),
    comment="Modules of courses.",
    feed=ReportFeed("proserv_context_modules_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_context_id", "courses"),
    single="/courses/{canvas_context_id}/modules/{canvas_id}",
    events=Events(("module_created", "module_updated")),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_context_module_id", "context_module_id"),
            api="id",
            event="module_id",
            comment="Canvas id of the module.",
        ),
        column(
            "canvas_context_id", BIGINT, report=("canvas_context_id", "context_id"), event="context_id", indexed=True
        ),
        column("canvas_context_type", TEXT, report=("canvas_context_type", "context_type"), event="context_type"),
        column("position", BIGINT, report="position", api="position", event="position"),
        column("name", TEXT, report="name", api="name", event="name"),
        column("workflow_state", TEXT, report="workflow_state", event="workflow_state"),
        column("deleted_at", TIMESTAMP, report="deleted_at"),
        column("unlock_at", TIMESTAMP, report="unlock_at", api="unlock_at"),
        column("completion_requirements", TEXT, report="completion_requirements"),
        column("prerequisites", TEXT, report="prerequisites"),
    ),
)

context_module_items = Model(
    name="context_module_items",
    parents=("terms", "context_modules"),
    comment="Items of modules.",
    feed=ReportFeed("proserv_context_module_items_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_context_module_id", "context_modules"),
    events=Events(("module_item_created", "module_item_updated")),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_context_module_item_id", "context_module_item_id"),
            api="id",
            event="module_item_id",
            comment="Canvas id of the item.",
        ),
        column(
            "canvas_context_module_id",
            BIGINT,
            report=("canvas_context_module_id", "context_module_id"),
            api="module_id",
            event="module_id",
            indexed=True,
        ),
        column("position", BIGINT, report="position", api="position", event="position"),
        column("canvas_content_id", BIGINT, report=("canvas_content_id", "content_id"), api="content_id"),
        column("canvas_content_type", TEXT, report=("canvas_content_type", "content_type")),
        column("canvas_assignment_id", BIGINT, report=("canvas_assignment_id", "assignment_id")),
        column("workflow_state", TEXT, report="workflow_state", event="workflow_state"),
    ),
)

content_migrations = Model(
    name="content_migrations",
    comment="Copies and imports of content.",
    feed=ReportFeed("proserv_content_migrations_csv", assumed_header=True),
    columns=(
        column(
            "canvas_id",
            BIGINT,
            report=("canvas_content_migration_id", "content_migration_id"),
            comment="Canvas id of the migration.",
        ),
        column("canvas_context_id", BIGINT, report=("canvas_context_id", "context_id"), indexed=True),
        column("canvas_context_type", TEXT, report=("canvas_context_type", "context_type")),
        column("workflow_state", TEXT, report="workflow_state"),
        column("migration_settings", TEXT, report="migration_settings"),
        column("started_at", TIMESTAMP, report="started_at"),
        column("finished_at", TIMESTAMP, report="finished_at"),
        column("progress", NUMERIC, report="progress"),
        column("canvas_source_course_id", BIGINT, report=("canvas_source_course_id", "source_course_id")),
        column("migration_type", TEXT, report="migration_type"),
        column(
            "canvas_child_subscription_id", BIGINT, report=("canvas_child_subscription_id", "child_subscription_id")
        ),
        column("canvas_root_account_id", BIGINT, report=("canvas_root_account_id", "root_account_id")),
    ),
)

course_progresses = Model(
    name="course_progresses",
    parents=("terms", "courses", "users"),
    comment="How many requirements of a course a student has met.",
    feed=ReportFeed("proserv_course_completion_csv", assumed_header=True),
    term_scoped=True,
    term_by=("canvas_course_id", "courses"),
    key=("canvas_user_id", "canvas_course_id"),
    columns=(
        column(
            "canvas_course_id",
            BIGINT,
            report=("canvas_course_id", "course_id"),
            comment="Canvas id of the course.",
            indexed=True,
        ),
        column("canvas_user_id", BIGINT, report=("canvas_user_id", "user_id"), comment="Canvas id of the user."),
        column("requirement_count", BIGINT, report="requirement_count", api="requirement_count"),
        column(
            "requirement_completed_count",
            BIGINT,
            report="requirement_completed_count",
            api="requirement_completed_count",
        ),
        column("completion_date", TIMESTAMP, report=("completion_date", "completed_at"), api="completed_at"),
    ),
)
