"""Assets of your own downstream of the tables: Dagster requests them when a term was synced, or every morning."""

from pathlib import Path

import dagster as dg

from canvas_sync_dagster import CanvasSync, WarehouseResource

sync = CanvasSync.from_file(Path(__file__).with_name("canvas_sync.yaml"))
tables = dg.AssetSelection.groups("reporting")


# A sync of term 118 requests the partition 118 only. eager() waits until all upstream assets of the term are there.
@dg.asset(
    key=["reporting", "course_sizes"],
    group_name="reporting",
    partitions_def=sync.term_partitions("canvas"),
    deps=[["canvas", "courses"], ["canvas", "enrollments"]],
    automation_condition=dg.AutomationCondition.eager(),
)
def course_sizes(context: dg.AssetExecutionContext, canvas_warehouse: WarehouseResource) -> dg.MaterializeResult:
    """Number of active students per course of a term."""
    term = int(context.partition_key)
    with canvas_warehouse.connect() as connection:
        connection.execute(
            "create table if not exists course_sizes (course_id bigint, term_id bigint, students bigint)"
        )
        connection.execute("delete from course_sizes where term_id = %s", [term])
        written = connection.execute(
            """
            insert into course_sizes
            select courses.canvas_id, courses.canvas_term_id, count(distinct enrollments.canvas_user_id)
            from courses left join enrollments
                on enrollments.canvas_course_id = courses.canvas_id
                and enrollments.base_role_type = 'StudentEnrollment' and enrollments.workflow_state = 'active'
            where courses.canvas_term_id = %s
            group by courses.canvas_id, courses.canvas_term_id
            """,
            [term],
        ).rowcount
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": written})


# Every morning, once the users were synced after the tick.
@dg.asset(
    key=["reporting", "users_without_email"],
    group_name="reporting",
    deps=[["canvas", "users"]],
    automation_condition=dg.AutomationCondition.on_cron("0 6 * * *"),
)
def users_without_email(canvas_warehouse: WarehouseResource) -> dg.MaterializeResult:
    """Number of users without an email address."""
    with canvas_warehouse.connect() as connection:
        row = connection.execute("select count(*) from users where email is null").fetchone()
    return dg.MaterializeResult(metadata={"users": row[0] if row else 0})


# A sensor for this group only: Dagster's default one evaluates all assets of the location, ours included.
automation = dg.AutomationConditionSensorDefinition(
    "reporting_automation", target=tables, default_status=dg.DefaultSensorStatus.RUNNING
)
defs = sync.definitions(dg.Definitions(assets=[course_sizes, users_without_email], sensors=[automation]))
