"""Which reports are offered, and which tables each contains."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from canvas_sync_dagster.simulator.report_tables import course_content, coursework, groups, provisioning, rubrics
from canvas_sync_dagster.simulator.report_tables.report_query import ReportQuery
from canvas_sync_dagster.simulator.university.state import University

Table = Callable[[University, ReportQuery], pl.DataFrame]

STOCK: dict[str, Table] = {
    "users": provisioning.users,
    "accounts": provisioning.accounts,
    "terms": provisioning.terms,
    "courses": provisioning.courses,
    "sections": provisioning.sections,
    "enrollments": provisioning.enrollments,
    "groups": groups.groups,
    "group_categories": groups.group_categories,
    "group_membership": groups.group_membership,
    "xlist": provisioning.xlist,
    "user_observers": groups.user_observers,
}
"""Tables of `provisioning_csv`."""

PROPRIETARY: dict[str, Table] = {
    **STOCK,
    "pseudonyms": provisioning.pseudonyms,
    "group_membership": groups.group_membership_with_ids,
    "grading_periods": coursework.grading_periods,
    "grading_period_groups": coursework.grading_period_groups,
}
"""Tables of `proservices_provisioning_csv`."""

SINGLE: dict[str, Table] = {
    "proserv_assignment_export_csv": coursework.assignments,
    "proserv_student_submissions_csv": coursework.submissions,
    "proserv_assignment_group_export_csv": coursework.assignment_groups,
    "proserv_assignment_overrides_csv": coursework.assignment_overrides,
    "proserv_scores_csv": coursework.scores,
    "proserv_context_modules_csv": course_content.context_modules,
    "proserv_context_module_items_csv": course_content.context_module_items,
    "proserv_content_migrations_csv": course_content.content_migrations,
    "proserv_course_completion_csv": course_content.course_progresses,
    "rubrics_csv": rubrics.rubrics,
    "rubric_associations_csv": rubrics.rubric_associations,
    "rubric_assessments_csv": rubrics.rubric_assessments,
}
"""Reports of one table."""

ROOT_ONLY = {"rubrics_csv"}
"""Reports that Canvas runs on the root account only."""

REPORTS: dict[str, str] = {
    "provisioning_csv": "Provisioning",
    "proservices_provisioning_csv": "Professional Services Provisioning",
    **{name: name.removesuffix("_csv").removeprefix("proserv_").replace("_", " ").title() for name in SINGLE},
}
"""Name → title."""
