"""A Rails application's database: tables as the gem's migrations make them, and both tables of the gem's own state.

Written down from the gem's documented columns, and not derived from the catalogue.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

TYPES = {
    "": "character varying", "b": "bigint", "i": "integer", "t": "timestamp(6) without time zone", "x": "text",
    "f": "double precision", "y": "boolean", "j": "json", "a": "bigint[]", "B": "bigint not null",
}  # fmt: skip
TABLES = {
    "users": "email first_name last_name workflow_state login_id name sortable_name",
    "pseudonyms": "canvas_user_id:b sis_id unique_id workflow_state",
    "accounts": "sis_id canvas_parent_account_id:b sis_parent_account_id name workflow_state",
    "terms": "name start_at:t end_at:t workflow_state grading_period_group_id:i sis_id",
    "courses": "sis_id course_code name workflow_state canvas_account_id:i canvas_term_id:i start_at:t end_at:t "
    "grading_standard_id:b",
    "sections": "sis_id canvas_course_id:b canvas_nonxlist_course_id:b name workflow_state start_at:t end_at:t",
    "enrollments": "canvas_course_id:b course_sis_id canvas_user_id:b user_sis_id role canvas_role_id:i "
    "canvas_section_id:b workflow_state base_role_type",
    "groups": "sis_id canvas_group_category_id:b group_category_sis_id canvas_account_id:b canvas_course_id:b name "
    "workflow_state context_id:b context_type max_membership:i",
    "group_memberships": "canvas_user_id:B canvas_group_id:B group_sis_id user_sis_id workflow_state",
    "admins": "role_name canvas_account_id:b canvas_role_id:b canvas_user_id:b workflow_state",
    "roles": "label base_role_type canvas_account_id:i workflow_state permissions:j",
    "assignments": "title description:x due_at:t unlock_at:t lock_at:t points_possible:f min_score:f max_score:f "
    "mastery_score:f grading_type submission_types workflow_state canvas_context_id:i canvas_context_type "
    "canvas_assignment_group_id:i canvas_grading_scheme_id:i canvas_grading_standard_id:i",
    "assignment_groups": "canvas_course_id:b name rules:x position:i group_weight:f workflow_state canvas_created_at:t "
    "canvas_updated_at:t",
    "assignment_overrides": "canvas_assignment_id:b canvas_group_id:b canvas_course_id:b canvas_section_id:b student_ids:a "
    "due_at:t all_day:y all_day_date:t unlock_at:t lock_at:t title workflow_state",
    "submissions": "canvas_course_id:b canvas_assignment_id:b canvas_user_id:b submitted_at:t due_at:t graded_at:t score:f "
    "points_possible:f excused:y workflow_state",
    "context_modules": "canvas_context_id:b canvas_context_type position:i name workflow_state deleted_at:t unlock_at:t "
    "completion_requirements:x prerequisites:x",
    "context_module_items": "canvas_context_module_id:b position:i canvas_content_id:b canvas_content_type "
    "canvas_assignment_id:b workflow_state",
    "content_migrations": "canvas_context_id:b canvas_context_type workflow_state migration_settings:x started_at:t "
    "finished_at:t progress:f canvas_source_course_id:b migration_type canvas_child_subscription_id:b "
    "canvas_root_account_id:b",
    "grading_periods": "title weight:f start_date:t end_date:t close_date:t canvas_grading_period_group_id:b workflow_state",
    "grading_period_groups": "title weighted:y display_totals_for_all_grading_periods:y workflow_state",
    "rubrics": "canvas_user_id:b canvas_rubric_id:b canvas_context_id:b canvas_context_type data:x points_possible:f title "
    "description:x reusable:y public:y read_only:y association_count:i free_form_criterion_comments:y context_code "
    "migration_id hide_score_total:y workflow_state canvas_root_account_id:b hide_points:y rating_order button_display",
    "rubric_associations": "canvas_rubric_id:b canvas_association_id:b canvas_association_type use_for_grading:y title "
    "description:x summary_data:x purpose url canvas_context_id:b canvas_context_type hide_score_total:y bookmarked:y "
    "context_code hide_points:y hide_outcome_results:y canvas_root_account_id:b workflow_state",
    "rubric_assessments": "canvas_user_id:b canvas_rubric_id:b canvas_rubric_association_id:b score:f data:x "
    "canvas_artifact_id:b canvas_artifact_type assessment_type canvas_assessor_id:b artifact_attempt:i hide_points:y "
    "canvas_root_account_id:b",
    "user_observers": "observing_user_id:b observed_user_id:b workflow_state",
}
"""Model → columns beside `id`, `canvas_id` and Rails's times."""
STATE = """
create table public.canvas_sync_job_logs (id bigserial primary key, started_at timestamp(6), completed_at timestamp(6),
    exception varchar(255), backtrace text, job_class varchar, status varchar, metadata {json}, job_arguments {json},
    job_id varchar, created_at timestamp(6) not null, updated_at timestamp(6) not null);
create table public.canvas_sync_sync_batches (id serial primary key, started_at timestamp(6), completed_at timestamp(6),
    status varchar, created_at timestamp(6) not null, updated_at timestamp(6) not null, full_sync boolean default false,
    batch_genre varchar, batch_bid varchar);
"""
OLD = "timestamp '2020-01-01'"


def create(connection: psycopg.Connection[Any], json: str = "text") -> None:
    """Creates the tables in the schema `public`, with a column of the application's own in each."""
    for table, columns in TABLES.items():
        named = [each.partition(":") for each in columns.split()]
        declared = ", ".join(f'"{name}" {TYPES[kind]}' for name, _, kind in named)
        connection.execute(
            f'create table public."{table}" (id bigserial primary key, canvas_id bigint not null, {declared}, '.encode()
            + b"mine integer not null default 7, created_at timestamp(6) not null, updated_at timestamp(6) not null)"
        )
        connection.execute(f'create unique index on public."{table}" (canvas_id)'.encode())
    connection.execute(
        b"create table public.course_progresses (id bigserial primary key, canvas_course_id bigint not null, canvas_user_id "
        b"bigint not null, requirement_count int, requirement_completed_count int, completion_date timestamp(6), "
        b"created_at timestamp(6) not null, updated_at timestamp(6) not null)"
    )
    connection.execute(b"create unique index on public.course_progresses (canvas_user_id, canvas_course_id)")
    arguments = "--- - CanvasSync" if json == "text" else '["CanvasSync"]'
    connection.execute(STATE.format(json=json).encode())
    connection.execute(
        f"insert into public.canvas_sync_job_logs (job_class, status, job_id, job_arguments, created_at, updated_at) "
        f"values ('CanvasSync::Jobs::SyncTermsJob', 'running', 'a', '{arguments}', {OLD}, {OLD})".encode()
    )
    connection.execute(
        f"insert into public.canvas_sync_sync_batches (status, batch_genre, full_sync, started_at, created_at, updated_at) "
        f"values ('completed', 'default', true, {OLD}, {OLD}, {OLD}), ('processing', 'default', true, {OLD}, {OLD}, {OLD})".encode()
    )


def insert(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    """Inserts a row as the application has it for years."""
    query = sql.SQL("insert into {} ({}, mine, created_at, updated_at) values ({}, 8, {old}, {old})").format(
        sql.Identifier("public", table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Literal, row.values())),
        old=sql.SQL(OLD),  # type: ignore[arg-type]
    )
    connection.execute(query)
