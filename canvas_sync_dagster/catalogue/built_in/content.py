"""What courses hold, where it came from, and how far students are in it."""

from canvas_sync_dagster.catalogue.columns import bigint, numeric, text, time
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
        bigint(
            "canvas_id",
            "canvas_context_module_id|context_module_id",
            "id",
            "module_id",
            comment="Canvas id of the module.",
        ),
        bigint("canvas_context_id", "canvas_context_id|context_id", None, "context_id", indexed=True),
        text("canvas_context_type", "canvas_context_type|context_type", None, "context_type"),
        bigint("position", "position", "position", "position"),
        text("name", "name", "name", "name"),
        text("workflow_state", "workflow_state", None, "workflow_state"),
        time("deleted_at", "deleted_at"),
        time("unlock_at", "unlock_at", "unlock_at"),
        text("completion_requirements", "completion_requirements"),
        text("prerequisites", "prerequisites"),
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
        bigint(
            "canvas_id",
            "canvas_context_module_item_id|context_module_item_id",
            "id",
            "module_item_id",
            comment="Canvas id of the item.",
        ),
        bigint(
            "canvas_context_module_id",
            "canvas_context_module_id|context_module_id",
            "module_id",
            "module_id",
            indexed=True,
        ),
        bigint("position", "position", "position", "position"),
        bigint("canvas_content_id", "canvas_content_id|content_id", "content_id"),
        text("canvas_content_type", "canvas_content_type|content_type"),
        bigint("canvas_assignment_id", "canvas_assignment_id|assignment_id"),
        text("workflow_state", "workflow_state", None, "workflow_state"),
    ),
)

content_migrations = Model(
    name="content_migrations",
    comment="Copies and imports of content.",
    feed=ReportFeed("proserv_content_migrations_csv", assumed_header=True),
    columns=(
        bigint("canvas_id", "canvas_content_migration_id|content_migration_id", comment="Canvas id of the migration."),
        bigint("canvas_context_id", "canvas_context_id|context_id", indexed=True),
        text("canvas_context_type", "canvas_context_type|context_type"),
        text("workflow_state", "workflow_state"),
        text("migration_settings", "migration_settings"),
        time("started_at", "started_at"),
        time("finished_at", "finished_at"),
        numeric("progress", "progress"),
        bigint("canvas_source_course_id", "canvas_source_course_id|source_course_id"),
        text("migration_type", "migration_type"),
        bigint("canvas_child_subscription_id", "canvas_child_subscription_id|child_subscription_id"),
        bigint("canvas_root_account_id", "canvas_root_account_id|root_account_id"),
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
        bigint("canvas_course_id", "canvas_course_id|course_id", comment="Canvas id of the course.", indexed=True),
        bigint("canvas_user_id", "canvas_user_id|user_id", comment="Canvas id of the user."),
        bigint("requirement_count", "requirement_count", "requirement_count"),
        bigint("requirement_completed_count", "requirement_completed_count", "requirement_completed_count"),
        time("completion_date", "completion_date|completed_at", "completed_at"),
    ),
)
