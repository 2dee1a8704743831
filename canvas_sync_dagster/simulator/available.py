"""Which reports this Canvas has, and what each holds."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from canvas_sync_dagster.simulator import derived, tables
from canvas_sync_dagster.simulator.tables import Question
from canvas_sync_dagster.simulator.university import University

Table = Callable[[University, Question], pl.DataFrame]

STOCK: dict[str, Table] = {
    "users": tables.users,
    "accounts": tables.accounts,
    "terms": tables.terms,
    "courses": tables.courses,
    "sections": tables.sections,
    "enrollments": tables.enrollments,
    "groups": derived.groups,
    "group_categories": derived.group_categories,
    "group_membership": derived.group_membership,
    "xlist": tables.xlist,
    "user_observers": derived.user_observers,
}
"""Tables of `provisioning_csv`."""

PROPRIETARY: dict[str, Table] = {
    **STOCK,
    "pseudonyms": tables.pseudonyms,
    "group_membership": derived.group_membership_with_ids,
    "grading_periods": derived.grading_periods,
    "grading_period_groups": derived.grading_period_groups,
}
"""Tables of `proservices_provisioning_csv`."""

SINGLE: dict[str, Table] = {
    "proserv_assignment_export_csv": tables.assignments,
    "proserv_student_submissions_csv": tables.submissions,
    "proserv_assignment_group_export_csv": derived.assignment_groups,
    "proserv_assignment_overrides_csv": derived.assignment_overrides,
    "proserv_scores_csv": derived.scores,
    "proserv_context_modules_csv": derived.context_modules,
    "proserv_context_module_items_csv": derived.context_module_items,
    "proserv_content_migrations_csv": derived.content_migrations,
    "proserv_course_completion_csv": derived.course_progresses,
    "rubrics_csv": derived.rubrics,
    "rubric_associations_csv": derived.rubric_associations,
    "rubric_assessments_csv": derived.rubric_assessments,
}
"""Reports of one table."""

REPORTS: dict[str, str] = {
    "provisioning_csv": "Provisioning",
    "proservices_provisioning_csv": "Professional Services Provisioning",
    **{name: name.removesuffix("_csv").removeprefix("proserv_").replace("_", " ").title() for name in SINGLE},
}
"""Name → title."""
